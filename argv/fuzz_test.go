package argv

import (
	"slices"
	"strconv"
	"strings"
	"testing"
)

// FuzzParse takes one argument a line. What is taken has one spelling: written
// again from its values, it is the same arguments.
func FuzzParse(f *testing.F) {
	f.Add("--port=80\n--on=true\n--text=a=b --on=true")
	f.Add("--text=\n--port=65535")
	f.Add("--port=080")
	f.Add("--port=80\n--on=t")
	f.Add("--port=80\n--port=80")
	f.Add("---port=80\n--\n-port=80\nport=80\n")
	f.Add("--port=٨٠\n--on=true\x00")
	f.Fuzz(func(t *testing.T, lines string) {
		args := strings.Split(lines, "\n")
		got, err := parse(args...)
		if err != nil {
			if len(err.Error()) > 1000 || strings.ContainsAny(err.Error(), "\n\x00") {
				t.Fatalf("%.80q: %.1200q", lines, err.Error())
			}
			return
		}
		again := []string{"--port=" + strconv.Itoa(int(got.Port))}
		for _, option := range []string{"--on=" + strconv.FormatBool(got.On), "--text=" + got.Text} {
			name, _, _ := strings.Cut(option, "=")
			if slices.ContainsFunc(args, func(arg string) bool { return strings.HasPrefix(arg, name+"=") }) {
				again = append(again, option)
			}
		}
		slices.Sort(args)
		slices.Sort(again)
		if !slices.Equal(args, again) {
			t.Fatalf("%q was read as %+v, which is written %q", args, got, again)
		}
	})
}
