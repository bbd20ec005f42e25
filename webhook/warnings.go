package webhook

import (
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/pillion-mesh/pillion/injector"
)

// kube-apiserver's limits (WithWarningRecorder): once all warnings of a request
// have more than 4096 characters, each is cut at 256 and what comes beyond 4096
// is dropped.
const (
	maxWarning  = 256
	maxWarnings = 4096
)

// fitWarnings makes warnings about pods and workloads that reach the client whole.
func fitWarnings(warnings []injector.Warning) []string {
	texts := make([]string, len(warnings))
	for n, warning := range warnings {
		texts[n] = warning.Reason.Code + ": " + warning.Message
	}
	return fitTexts(texts, "`pillionctl why` shows all")
}

// fitTexts makes warnings that reach the client whole: each within the limit for one,
// all together within the limit for all, the first ones preferred, and the rest
// counted, with where they are shown.
func fitTexts(warnings []string, where string) []string {
	if len(warnings) == 0 {
		return nil
	}
	texts := make([]string, 0, len(warnings))
	total := 0
	for n, warning := range warnings {
		text := fitText(warning)
		length := utf8.RuneCountInString(text)
		// Unless it is the last one, the next might have to be counted instead.
		reserve := 0
		if n < len(warnings)-1 {
			reserve = utf8.RuneCountInString(restWarning(len(warnings), where))
		}
		if total+length+reserve > maxWarnings {
			return append(texts, restWarning(len(warnings)-n, where))
		}
		texts = append(texts, text)
		total += length
	}
	return texts
}

func restWarning(count int, where string) string {
	return fmt.Sprintf("... and %d more; %s", count, where)
}

// fitText is the text of one warning. kube-apiserver drops a warning that has a control
// character in it, and a terminal obeys others, such as those that turn the writing
// direction.
func fitText(warning string) string {
	text := strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return unicode.ReplacementChar
		}
		return r
	}, warning)
	if utf8.RuneCountInString(text) <= maxWarning {
		return text
	}
	return string([]rune(text)[:maxWarning-3]) + "..."
}
