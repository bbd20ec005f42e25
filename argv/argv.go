// Package argv reads the command lines that Pillion's webhook writes for the
// programs in a pod. They have one form, `--name=value`, each name at most once:
// what is written and what is read can so be compared token by token.
package argv

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// Option is one --name=value that a command line may hold.
type Option struct {
	// Name without the dashes.
	Name string
	// Required options are missed when they are not there.
	Required bool
	// Set takes the value; its error says what is accepted.
	Set func(value string) error
}

// Parse gives each argument to its option. It fails on the first argument that is
// not of the form, not known, repeated, or refused by its option.
func Parse(args []string, options []Option) error {
	seen := make([]bool, len(options))
	for _, arg := range args {
		name, value, ok := strings.Cut(strings.TrimPrefix(arg, "--"), "=")
		if !ok || !strings.HasPrefix(arg, "--") {
			return fmt.Errorf("reading argument %s: must be --name=value", Quote(arg))
		}
		at := slices.IndexFunc(options, func(o Option) bool { return o.Name == name })
		if at < 0 {
			return fmt.Errorf("reading argument %s: no such option", Quote(arg))
		}
		if seen[at] {
			return fmt.Errorf("reading argument %s: --%s is given twice", Quote(arg), name)
		}
		seen[at] = true
		if err := options[at].Set(value); err != nil {
			return fmt.Errorf("reading argument %s: %w", Quote(arg), err)
		}
	}
	for n, o := range options {
		if o.Required && !seen[n] {
			return fmt.Errorf("reading arguments: --%s is missing", o.Name)
		}
	}
	return nil
}

// Uint is an option's Set for a decimal number in its one canonical form: no
// sign, no leading zero.
func Uint[T uint16 | uint32 | uint64](to *T) func(string) error {
	return func(value string) error {
		most := uint64(^T(0))
		n, err := strconv.ParseUint(value, 10, 64)
		if err != nil || n > most || strconv.FormatUint(n, 10) != value {
			return fmt.Errorf("%s must be a whole number from 0 to %d", Quote(value), most)
		}
		*to = T(n)
		return nil
	}
}

// Bool is an option's Set for true and false.
func Bool(to *bool) func(string) error {
	return func(value string) error {
		if value != "true" && value != "false" {
			return fmt.Errorf("%s must be true or false", Quote(value))
		}
		*to = value == "true"
		return nil
	}
}

// longestQuote is in bytes: a list may be thousands of them, and a container's
// termination message holds 4096.
const longestQuote = 64

// Quote is what an error shows of a value that somebody wrote: in quotes, with
// what cannot be printed escaped, and only its beginning where it is long.
func Quote(value string) string {
	if len(value) > longestQuote {
		value = strings.ToValidUTF8(value[:longestQuote], "") + "..."
	}
	return strconv.Quote(value)
}
