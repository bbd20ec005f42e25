package screen

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestDiffInColourOnATerminalOnly(t *testing.T) {
	const diff = "@@ -1 +1,2 @@\n a\n-b\n+c\n"
	for _, test := range []struct {
		name     string
		terminal bool
		want     string
	}{
		{"file", false, "  @@ -1 +1,2 @@\n   a\n  -b\n  +c\n"},
		{"terminal", true, "  \x1b[36m@@ -1 +1,2 @@\x1b[0m\n   a\n  \x1b[31m-b\x1b[0m\n  \x1b[32m+c\x1b[0m\n"},
	} {
		t.Run(test.name, func(t *testing.T) {
			var out strings.Builder
			(&Screen{out: &out, terminal: test.terminal}).Diff(diff)
			if diff := cmp.Diff(test.want, out.String()); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestAFileIsNoTerminal(t *testing.T) {
	file, err := os.Create(filepath.Join(t.TempDir(), "out"))
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	if New(file).terminal {
		t.Error("a file was taken for a terminal")
	}
}

func TestWaitSaysHowItEnded(t *testing.T) {
	broken := errors.New("out of cheese")
	for want, err := range map[string]error{"  done brewing in ": nil, "  failed brewing in ": broken} {
		var out strings.Builder
		if got := (&Screen{out: &out}).Wait("brewing", nil, func() error { return err }); !errors.Is(got, err) {
			t.Errorf("got error %v, want %v", got, err)
		}
		if !strings.HasPrefix(out.String(), want) {
			t.Errorf("got %q, want it to begin with %q", out.String(), want)
		}
	}
}

func TestClip(t *testing.T) {
	if got := clip(strings.Repeat("ä", 200), 78); len([]rune(got)) != 78 || !strings.HasSuffix(got, "ä...") {
		t.Errorf("got %d runes: %q", len([]rune(got)), got)
	}
}
