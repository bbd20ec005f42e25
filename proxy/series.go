package proxy

import (
	"cmp"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/pillion-mesh/pillion/bootstrap"
)

// series gathers those that are passed on. Envoy sorts by metric, and each destination
// comes again and again, so which ones fit is known at the end: what is held until then
// is no more than twice what may be passed on.
type series struct {
	most  int // of destinations
	lines []sample
	fixed int // of lines, those that are of no destination
	// destinations are in order, those that still fit; the names from end on do not.
	destinations []destination
	end          string
	left         []string // the names of those that do not fit
	total, stale int      // of lines: those of destinations, and those of destinations that no longer fit
}

type destination struct {
	name  string
	count int
}

// sample is a line, with the comment that says what kind of metric it is.
type sample struct{ kind, text, destination string }

func gather(keeps bootstrap.Statistics) *series {
	return &series{most: min(cmp.Or(keeps.MaxSeries, mostSeries), mostSeries)}
}

// add takes a line. Where there are too many of destinations, the last ones by name go,
// each with everything: of a destination there is all or nothing.
func (s *series) add(line sample) error {
	if line.destination == "" {
		if s.fixed++; s.fixed > mostSeries {
			return fmt.Errorf("more than %d series of Envoy's are of no destination", mostSeries)
		}
		s.lines = append(s.lines, line)
		return nil
	}
	if s.isStale(line) {
		s.leave(line.destination)
		return nil
	}
	at, known := slices.BinarySearchFunc(s.destinations, line.destination, func(d destination, name string) int { return cmp.Compare(d.name, name) })
	if !known {
		s.destinations = slices.Insert(s.destinations, at, destination{name: line.destination})
	}
	s.destinations[at].count++
	s.total++
	s.lines = append(s.lines, line)
	for s.total > s.most {
		last := s.destinations[len(s.destinations)-1]
		s.destinations = s.destinations[:len(s.destinations)-1]
		s.end, s.total, s.stale = last.name, s.total-last.count, s.stale+last.count
		s.leave(last.name)
	}
	if s.stale > s.most {
		s.lines, s.stale = slices.DeleteFunc(s.lines, s.isStale), 0
	}
	return nil
}

// leave counts a destination that does not fit, once.
func (s *series) leave(name string) {
	if at, known := slices.BinarySearch(s.left, name); !known {
		s.left = slices.Insert(s.left, at, strings.Clone(name))
	}
}

func (s *series) isStale(line sample) bool {
	return s.end != "" && line.destination >= s.end
}

func (s *series) write(to io.Writer) error {
	kind := ""
	for _, line := range s.lines {
		if s.isStale(line) {
			continue
		}
		if line.kind != kind {
			kind = line.kind
			if _, err := fmt.Fprintln(to, kind); err != nil {
				return err
			}
		}
		if _, err := fmt.Fprintln(to, line.text); err != nil {
			return err
		}
	}
	return nil
}
