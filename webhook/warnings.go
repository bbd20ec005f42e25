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

// fitWarnings makes warnings that reach the client whole: each within the limit
// for one, all together within the limit for all, the first ones preferred, and
// the rest counted.
func fitWarnings(warnings []injector.Warning) []string {
	if len(warnings) == 0 {
		return nil
	}
	texts := make([]string, 0, len(warnings))
	total := 0
	for n, warning := range warnings {
		text := fitWarning(warning)
		length := utf8.RuneCountInString(text)
		// Unless it is the last one, the next might have to be counted instead.
		reserve := 0
		if n < len(warnings)-1 {
			reserve = utf8.RuneCountInString(restWarning(len(warnings)))
		}
		if total+length+reserve > maxWarnings {
			return append(texts, restWarning(len(warnings)-n))
		}
		texts = append(texts, text)
		total += length
	}
	return texts
}

func restWarning(count int) string {
	return fmt.Sprintf("... and %d more; `pillionctl why` shows all", count)
}

// fitWarning is the text of one warning. kube-apiserver drops a warning that
// has a control character in it, and a terminal obeys others, such as those that
// turn the writing direction.
func fitWarning(warning injector.Warning) string {
	text := strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return unicode.ReplacementChar
		}
		return r
	}, warning.Reason.Code+": "+warning.Message)
	if utf8.RuneCountInString(text) <= maxWarning {
		return text
	}
	return string([]rune(text)[:maxWarning-3]) + "..."
}
