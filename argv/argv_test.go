package argv

import (
	"errors"
	"strings"
	"testing"
)

// parsed is what the options of parse were set to.
type parsed struct {
	Port uint16
	On   bool
	Text string
}

func parse(args ...string) (parsed, error) {
	var p parsed
	err := Parse(args, []Option{
		{Name: "port", Required: true, Set: Uint(&p.Port)},
		{Name: "on", Set: Bool(&p.On)},
		{Name: "text", Set: func(value string) error {
			if value == "bad" {
				return errors.New("must be good")
			}
			p.Text = value
			return nil
		}},
	})
	return p, err
}

func TestParse(t *testing.T) {
	for _, test := range []struct {
		args []string
		want parsed
	}{
		{[]string{"--port=80"}, parsed{Port: 80}},
		{[]string{"--on=true", "--port=0"}, parsed{On: true}},
		{[]string{"--port=65535", "--on=false"}, parsed{Port: 65535}},
		{[]string{"--port=1", "--text="}, parsed{Port: 1}},
		{[]string{"--port=1", "--text=a=b --on=true"}, parsed{Port: 1, Text: "a=b --on=true"}},
	} {
		if got, err := parse(test.args...); err != nil || got != test.want {
			t.Errorf("Parse(%q) = %+v, %v; want %+v", test.args, got, err, test.want)
		}
	}
}

func TestParseRefuses(t *testing.T) {
	for _, test := range []struct {
		args []string
		want string
	}{
		{nil, "reading arguments: --port is missing"},
		{[]string{"--on=true"}, "reading arguments: --port is missing"},
		{[]string{"80"}, `reading argument "80": must be --name=value`},
		{[]string{"--port", "80"}, `reading argument "--port": must be --name=value`},
		{[]string{"-port=80"}, `reading argument "-port=80": must be --name=value`},
		{[]string{"port=80"}, `reading argument "port=80": must be --name=value`},
		{[]string{"--"}, `reading argument "--": must be --name=value`},
		{[]string{""}, `reading argument "": must be --name=value`},
		{[]string{"---port=80"}, `reading argument "---port=80": no such option`},
		{[]string{"--Port=80"}, `reading argument "--Port=80": no such option`},
		{[]string{"--por=80"}, `reading argument "--por=80": no such option`},
		{[]string{"--port=80", "--port=80"}, `reading argument "--port=80": --port is given twice`},
		{[]string{"--port=80", "--text=bad"}, `reading argument "--text=bad": must be good`},
		{[]string{"--port=x"}, `reading argument "--port=x": "x" must be a whole number from 0 to 65535`},
		{[]string{"--port=80", "--on=yes"}, `reading argument "--on=yes": "yes" must be true or false`},
	} {
		if _, err := parse(test.args...); err == nil || err.Error() != test.want {
			t.Errorf("Parse(%q): %v; want %s", test.args, err, test.want)
		}
	}
}

func TestUintHasOneSpelling(t *testing.T) {
	for _, value := range []string{"", " 80", "80 ", "+80", "-1", "080", "00", "0x50", "8_0", "80.0", "1e3", "65536", "18446744073709551616", "٨٠"} {
		var to uint16
		if Uint(&to)(value) == nil {
			t.Errorf("Uint took %q as %d", value, to)
		}
	}
	var most uint32
	if err := Uint(&most)("4294967295"); err != nil || most != 4294967295 {
		t.Errorf("Uint of the largest uint32: %d, %v", most, err)
	}
	if Uint(&most)("4294967296") == nil {
		t.Error("Uint took what is too large for a uint32")
	}
}

func TestBoolHasOneSpelling(t *testing.T) {
	for _, value := range []string{"", "True", "TRUE", "t", "1", "yes", " true", "truefalse"} {
		var to bool
		if Bool(&to)(value) == nil {
			t.Errorf("Bool took %q as %t", value, to)
		}
	}
}

func TestQuote(t *testing.T) {
	for _, test := range []struct{ value, want string }{
		{"", `""`},
		{`a"b`, `"a\"b"`},
		{"a\nb\x00\u202e", `"a\nb\x00\u202e"`},
		{strings.Repeat("a", 64), `"` + strings.Repeat("a", 64) + `"`},
		{strings.Repeat("a", 65), `"` + strings.Repeat("a", 64) + `..."`},
		{strings.Repeat("a", 63) + "é", `"` + strings.Repeat("a", 63) + `..."`},
	} {
		if got := Quote(test.value); got != test.want {
			t.Errorf("Quote(%q) = %s, want %s", test.value, got, test.want)
		}
	}
}

// A list may be as long as an annotation; what says that it is wrong must not be.
func TestErrorsAreShort(t *testing.T) {
	long := strings.Repeat("9", 1<<18)
	for _, arg := range []string{long, "--" + long + "=1", "--port=" + long, "--on=" + long} {
		if _, err := parse(arg); err == nil || len(err.Error()) > 250 {
			t.Errorf("Parse of an argument of %d bytes: %.300v", len(arg), err)
		}
	}
}
