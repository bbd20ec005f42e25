// Package proxy is what runs beside Envoy in the sidecar container: it prepares and
// supervises Envoy (Sidecar.Run), waits until it serves (Wait) and drains it (Drain).
//
// All three are commands of pillion-proxy, whose command lines are the values of
// package lifecycle. Run is the container's first process; Wait and Drain are hooks
// that kubelet runs beside it. They meet in Envoy's admin interface, a Unix socket,
// and in Run's status port.
package proxy

import (
	"cmp"
	"context"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/signal"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/pillion-mesh/pillion/bootstrap"
	"github.com/pillion-mesh/pillion/lifecycle"
)

// Sidecar is the sidecar container of one pod.
type Sidecar struct {
	// Run is the command line.
	Run lifecycle.Run
	// Folder is lifecycle.RunDir and MeshFolder lifecycle.MeshDir, but in tests.
	Folder, MeshFolder string
	// EnvoyPath is the program; empty looks for it where Envoy's images have it.
	EnvoyPath string
	// PodName, PodNamespace and NodeName say whose Envoy it is. They may be empty.
	PodName, PodNamespace, NodeName string
	// APIServer is the host of kube-apiserver as kubelet tells it all containers; it may be empty.
	APIServer string
	// Version of this program, for the metrics.
	Version string
	// Stdout and Stderr are the container's logs.
	Stdout, Stderr *os.File
	// LastWords is what kubectl shows of a container that has ended.
	LastWords LastWords

	// first is whether no container of this pod has been here before.
	first bool
	// provenAfter is another time than that, for tests.
	provenAfter time.Duration
}

const (
	// stopTime is what Envoy gets to end before it is killed.
	stopTime = 5 * time.Second
	// killed is what a shell adds to the number of a signal for an exit code.
	killed = 128
)

// Signals are those that Supervise is to be given. It changes what the process does on
// others, and so does Envoy: a terminal that hangs up, or a reader of logs that is
// gone, must not end the pod's network.
func Signals() <-chan os.Signal {
	signal.Ignore(syscall.SIGHUP, syscall.SIGPIPE)
	signals := make(chan os.Signal, 8)
	signal.Notify(signals, syscall.SIGTERM, syscall.SIGINT, syscall.SIGUSR1)
	return signals
}

// Supervise runs Envoy until it ends, and is the container's exit code: 0 for an end
// that was asked for. SIGTERM and SIGINT end Envoy, but with StayForApp only a second one does
// so at once; others are passed on.
func (s *Sidecar) Supervise(signals <-chan os.Signal) int {
	code, err := s.supervise(signals)
	if err != nil {
		s.say("%v", err)
		s.LastWords.Write(err.Error())
	}
	return code
}

func (s *Sidecar) say(format string, arguments ...any) {
	fmt.Fprintf(s.Stderr, "pillion-proxy: "+format+"\n", arguments...)
}

func (s *Sidecar) supervise(signals <-chan os.Signal) (int, error) {
	path, err := s.envoyPath()
	if err != nil {
		return 1, err
	}
	config, err := s.prepare()
	if err != nil {
		return 1, err
	}
	listener, err := net.Listen("tcp", ":"+strconv.Itoa(int(s.Run.StatusPort)))
	if err != nil {
		return 1, fmt.Errorf("listening on the status port %d: %w: nothing else in the pod may use Pillion's ports", s.Run.StatusPort, err)
	}
	// Envoy ends with the thread that started it, so this one must not end before.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	kills, started := oomKills(), time.Now()
	envoy, err := s.start(path)
	if err != nil {
		_ = listener.Close()
		return 1, err
	}
	quit := make(chan struct{}, 1)
	mesh := newApplier(s, config, envoy)
	status := newStatus(s, mesh, quit)
	server := status.serve(listener)
	defer server.Close()
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	go status.noteReady(ctx)
	go mesh.run(ctx)

	ended, asked := s.conduct(ctx, envoy, signals, quit)
	if time.Since(started) < cmp.Or(s.provenAfter, provenAfter) {
		mesh.blame(ended, asked)
	}
	return s.explain(envoy, ended, asked, oomKills() > kills)
}

// conduct passes signals on until Envoy has ended. asked says why it was told to;
// empty where nobody did.
func (s *Sidecar) conduct(ctx context.Context, envoy *envoy, signals <-chan os.Signal, quit <-chan struct{}) (status syscall.WaitStatus, asked string) {
	var appGone <-chan struct{}
	staying := false // nobody has told Envoy anything then
	stop := func(why string) {
		asked = why
		envoy.stop(stopTime)
	}
	for {
		select {
		case status := <-envoy.ended:
			return status, asked
		case <-quit:
			s.say("/quitquitquit was called: Envoy is told to end")
			stop("/quitquitquit was called")
		case <-appGone:
			s.say("no other process in the pod uses the network any more: Envoy is told to end")
			appGone = nil
			stop("SIGTERM")
		case got := <-signals:
			switch {
			case got != syscall.SIGTERM && got != syscall.SIGINT:
				envoy.signal(got)
			case s.Run.StayForApp && !staying && asked == "":
				staying = true
				s.say("%s: Envoy stays while other processes in the pod use the network", got)
				appGone = appEnds(ctx, os.Getuid())
			default:
				s.say("%s: Envoy is told to end", got)
				stop(got.String())
			}
		}
	}
}

// explain says how Envoy ended, and is the exit code that goes with it.
func (s *Sidecar) explain(envoy *envoy, status syscall.WaitStatus, asked string, outOfMemory bool) (int, error) {
	lines := envoy.lastLines()
	switch {
	case asked != "" && status.Signaled() && status.Signal() == syscall.SIGKILL:
		s.say("Envoy did not end within %s of being told to (%s), and was killed", stopTime, asked)
		return 0, nil
	case asked != "":
		s.say("Envoy has ended, as it was told to (%s)", asked)
		return 0, nil
	case outOfMemory && status.Signaled() && status.Signal() == syscall.SIGKILL:
		return killed + int(syscall.SIGKILL), fmt.Errorf("running Envoy: the kernel killed it, since the container was out of memory (its limit is %s): raise it with the annotation pillion.dev/memory-limit, or sidecar.resources in the configuration", s.limit())
	case status.Signaled():
		return killed + int(status.Signal()), fmt.Errorf("running Envoy: it was ended by signal %d (%s), which pillion-proxy did not send%s", int(status.Signal()), status.Signal(), lines)
	case status.ExitStatus() == 0:
		// The container's restart policy may not restart what ended well.
		return 1, fmt.Errorf("running Envoy: it ended by itself without an error, which nobody asked for%s", lines)
	default:
		return status.ExitStatus(), fmt.Errorf("running Envoy: it ended with exit code %d%s", status.ExitStatus(), lines)
	}
}

func (s *Sidecar) limit() string {
	if s.Run.MemoryLimit == 0 {
		return "none of its own, so the node's memory"
	}
	return strconv.FormatInt(s.Run.MemoryLimit, 10) + " bytes"
}

// config is the bootstrap's, with what only the running container knows.
func (s *Sidecar) config() bootstrap.Config {
	return bootstrap.Config{
		Service: s.Run.Service, PodName: s.PodName, PodNamespace: s.PodNamespace, NodeName: s.NodeName,
		Folder: s.Folder, InboundPort: s.Run.InboundPort, OutboundPort: s.Run.OutboundPort,
		MemoryLimit: s.Run.MemoryLimit,
		UpstreamAge: s.Run.UpstreamAge, UpstreamIdle: s.Run.UpstreamIdle, DownstreamAge: s.Run.DownstreamAge,
		DrainTime: s.Run.DrainTime, AccessLog: s.Run.AccessLog, APIServer: addressOf(s.APIServer),
	}
}

// addressOf is the zero Addr for what is no address that a server can have: some clusters tell
// a name of kube-apiserver, which clients then say themselves.
func addressOf(told string) netip.Addr {
	address, err := netip.ParseAddr(told)
	if err != nil || address.Zone() != "" || !address.Unmap().IsGlobalUnicast() {
		return netip.Addr{}
	}
	return address.Unmap()
}

// LastWords is the path of a container's termination message; empty for none.
type LastWords string

// longestLastWords is what kubelet reads of it.
const longestLastWords = 4096

// Write leaves a sentence there, if kubelet has made the file.
func (path LastWords) Write(sentence string) {
	file, err := os.OpenFile(string(path), os.O_WRONLY|os.O_TRUNC, 0)
	if err != nil {
		return // not in a container
	}
	defer file.Close()
	if len(sentence) > longestLastWords {
		sentence = strings.ToValidUTF8(sentence[:longestLastWords], "")
	}
	_, _ = file.WriteString(sentence)
}
