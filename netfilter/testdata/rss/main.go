// Command rss runs a program and prints its peak resident memory in KiB. A program
// that a large process starts would be charged with that one's memory.
package main

import (
	"fmt"
	"os"
	"syscall"
)

func main() {
	process, err := os.StartProcess(os.Args[1], os.Args[1:], &os.ProcAttr{Files: []*os.File{os.Stdin, os.Stderr, os.Stderr}})
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	state, err := process.Wait()
	if err != nil || !state.Success() {
		fmt.Fprintln(os.Stderr, err, state)
		os.Exit(1)
	}
	if usage, ok := state.SysUsage().(*syscall.Rusage); ok {
		fmt.Println(usage.Maxrss)
	}
}
