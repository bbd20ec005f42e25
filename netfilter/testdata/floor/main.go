// Command floor sends a batch of netlink messages that somebody else has made to the
// kernel, and waits for its answers: the least that a program can do to apply rules.
package main

import (
	"encoding/binary"
	"fmt"
	"os"
	"syscall"
)

func main() {
	if err := run(os.Args[1]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(path string) error {
	batch, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	socket, err := syscall.Socket(syscall.AF_NETLINK, syscall.SOCK_RAW, syscall.NETLINK_NETFILTER)
	if err != nil {
		return err
	}
	if err := syscall.Sendto(socket, batch, 0, &syscall.SockaddrNetlink{Family: syscall.AF_NETLINK}); err != nil {
		return err
	}
	answers := 0
	for rest := batch; len(rest) >= syscall.NLMSG_HDRLEN; rest = rest[align(binary.NativeEndian.Uint32(rest)):] {
		if flags := binary.NativeEndian.Uint16(rest[6:]); flags&syscall.NLM_F_ACK != 0 {
			answers++
		}
	}
	for buffer := make([]byte, 64<<10); answers > 0; {
		n, _, err := syscall.Recvfrom(socket, buffer, 0)
		if err != nil {
			return err
		}
		messages, err := syscall.ParseNetlinkMessage(buffer[:n])
		if err != nil {
			return err
		}
		for _, m := range messages {
			if m.Header.Type != syscall.NLMSG_ERROR {
				continue // an echo of what was added
			}
			if errno := -int32(binary.NativeEndian.Uint32(m.Data)); errno != 0 {
				return syscall.Errno(errno)
			}
			answers--
		}
	}
	return nil
}

func align(length uint32) uint32 { return (length + 3) &^ 3 }
