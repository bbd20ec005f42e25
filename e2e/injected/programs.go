package injected

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"

	"github.com/pillion-mesh/pillion/e2e/sandbox"
)

// Programs are pillion-init and pillion-proxy of this tree, built when they are first
// needed, and then once.
type Programs struct {
	folder string
	build  func() error
}

// NewPrograms are those of a test binary. Nothing is built yet.
func NewPrograms() *Programs {
	folder := filepath.Join(os.TempDir(), fmt.Sprintf("pillion-programs-%d", os.Getpid()))
	return &Programs{folder, sync.OnceValue(func() error {
		const module = "github.com/pillion-mesh/pillion/cmd/"
		build := exec.Command("go", "build", "-trimpath", "-o", folder+"/", module+"pillion-init", module+"pillion-proxy") //nolint:noctx // go test's own timeout ends it
		build.Env = append(os.Environ(), "CGO_ENABLED=0")
		if output, err := build.CombinedOutput(); err != nil {
			return fmt.Errorf("building the pod's programs: %w\n%s", err, output)
		}
		return nil
	})}
}

// Remove removes what was built.
func (p *Programs) Remove() { _ = os.RemoveAll(p.folder) }

// Images are those that the added containers name, with the programs.
func (p *Programs) Images(tb testing.TB) sandbox.Images {
	tb.Helper()
	if err := p.build(); err != nil {
		tb.Fatal(err)
	}
	return Images(tb, p.folder)
}
