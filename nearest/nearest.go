// Package nearest finds the name that somebody probably meant.
package nearest

import "strings"

// Name returns the known name that is most like name, and whether one is like
// enough to be worth suggesting. Upper and lower case count as the same letter.
// Of two that are equally like it the first in known is returned.
func Name(name string, known []string) (string, bool) {
	best, least := "", 0
	for _, k := range known {
		if d, ok := distance(name, k); ok && (best == "" || d < least) {
			best, least = k, d
		}
	}
	return best, best != ""
}

// longest name that is compared: what is longer is no slip of the keyboard, and
// the work grows with the product of the lengths.
const longest = 64

// distance counts the slips between two names: letters inserted, left out,
// replaced, or swapped with their neighbor (the optimal string alignment form of
// the Damerau-Levenshtein distance). It says no where there are too many slips for
// the length: one in a name of up to five letters, then one in three.
func distance(a, b string) (int, bool) {
	x, y := []rune(strings.ToLower(a)), []rune(strings.ToLower(b))
	most := max(1, max(len(x), len(y))/3)
	if len(x) == 0 || len(y) == 0 || len(x) > longest || len(y) > longest || len(x)-len(y) > most || len(y)-len(x) > most {
		return 0, false
	}
	before, last := make([]int, len(y)+1), make([]int, len(y)+1)
	for j := range last {
		last[j] = j
	}
	for i := range x {
		row := make([]int, len(y)+1)
		row[0] = i + 1
		for j := range y {
			replaced := last[j]
			if x[i] != y[j] {
				replaced++
			}
			row[j+1] = min(replaced, last[j+1]+1, row[j]+1)
			if i > 0 && j > 0 && x[i] == y[j-1] && x[i-1] == y[j] {
				row[j+1] = min(row[j+1], before[j-1]+1)
			}
		}
		before, last = last, row
	}
	slips := last[len(y)]
	return slips, slips <= most
}
