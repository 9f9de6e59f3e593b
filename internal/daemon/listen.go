package daemon

import (
	"encoding/json"
	"errors"
	"io/fs"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"github.com/sennit/sennit"

	"github.com/sennit/sennit/internal/peer"
)

// Peers know a node by its address, so a node that is free to choose its port
// keeps the one that it chose first. One number serves QUIC and TCP, IPv4 and
// IPv6: that is one line in a firewall.
//
// The range lies below those from which operating systems take ports for
// outgoing connections (Linux from 32768, others from 49152): there, another
// program could get the port while the node is down.
const (
	firstPort = 20_000
	lastPort  = 32_767
	portTries = 32
)

// ports is the content of the ports file.
type ports struct {
	Peer int `json:"peer"` // 0: none was chosen yet
}

// maxSocketPath is how long the path of a unix socket may be: the least of
// what systems allow, which is macOS's, less the longer name under which it is
// made.
const maxSocketPath = 103 - len(".new/s")

// listenLocal takes the unix socket and the HTTP port.
func (d *daemon) listenLocal() (err error) {
	path := Socket(d.cfg.Data)
	if len(path) > maxSocketPath {
		return sennit.Hint(sennit.Errorf(sennit.BadInput, "the path of the data directory is too long for a unix socket: %s", d.cfg.Data),
			"use a directory whose path has at most "+strconv.Itoa(maxSocketPath-len("/"+socketFile))+" bytes")
	}
	if d.sock, err = listenSocket(path); err != nil {
		return fileError("make the unix socket", err)
	}
	switch d.cfg.HTTP {
	case "off":
		return nil
	case "":
		return d.listenNear()
	}
	addr, err := doorAddr(d.cfg.HTTP)
	if err != nil {
		return err
	}
	if d.http, err = net.Listen("tcp", addr.String()); err != nil {
		return portError(err)
	}
	return nil
}

// doorAddr reads the address of the HTTP door.
func doorAddr(text string) (*net.TCPAddr, error) {
	addr, err := net.ResolveTCPAddr("tcp", text)
	if err != nil {
		return nil, sennit.Hint(sennit.Errorf(sennit.BadInput, "%q is not an address to listen on: %w", text, err),
			"write it as 127.0.0.1:7700, with port 0 for any free one, or off")
	}
	if !addr.IP.IsLoopback() {
		return nil, sennit.Hint(sennit.Errorf(sennit.BadInput, "%s can be reached by other machines; the HTTP door is for this one", text),
			"listen on 127.0.0.1 and put a TLS proxy before it")
	}
	return addr, nil
}

// portError is why a port that was asked for can't be had. Asking was no
// mistake, so it is no BadInput.
func portError(err error) error {
	var number syscall.Errno
	hint := "choose another port, or 0 for any free one"
	if errors.As(err, &number) && errors.Is(number, syscall.EADDRINUSE) {
		hint = "another program listens there, perhaps another node; " + hint
	}
	return sennit.Hint(sennit.Errorf(sennit.Unsupported, "can't listen: %w", err), hint)
}

// listenNear takes the default port, or the next that is free.
func (d *daemon) listenNear() (err error) {
	host, first, _ := net.SplitHostPort(DefaultHTTP)
	port, _ := strconv.Atoi(first)
	for i := range 100 {
		if d.http, err = net.Listen("tcp", net.JoinHostPort(host, strconv.Itoa(port+i))); err == nil {
			if i > 0 {
				d.note("port " + first + " is taken; the page is on port " + strconv.Itoa(port+i))
			}
			return nil
		}
	}
	return portError(err)
}

// listenPeers opens the network. Where the configuration leaves ports open it
// tries the one of the last time, then others, and remembers what it got.
func (d *daemon) listenPeers() error {
	try := func(port int) (err error) {
		d.host, err = peer.New(peer.Config{
			Key: d.id.Host(), Listen: withPort(d.cfg.Listen, port), LAN: d.cfg.LAN == "on", Log: d.log, Changed: d.nearby,
		})
		return err
	}
	if !openPort(d.cfg.Listen) {
		err := try(0)
		if sennit.CodeOf(err) == sennit.Conflict {
			err = sennit.Hint(sennit.Errorf(sennit.Unsupported, "%w", err), sennit.HintOf(err))
		}
		return err
	}
	path := filepath.Join(d.cfg.Data, portsFile)
	known, err := readPorts(path)
	if err != nil {
		d.note(err.Error() + "; a new port for peers is chosen")
	}
	if known.Peer != 0 {
		if err = try(known.Peer); sennit.CodeOf(err) != sennit.Conflict {
			return err
		}
	}
	for range portTries {
		port := firstPort + rand.N(lastPort-firstPort+1)
		if err = try(port); sennit.CodeOf(err) == sennit.Conflict {
			continue
		}
		if err == nil {
			d.chose(path, known.Peer, port)
		}
		return err
	}
	// Addresses that can't share a number, such as one that is listed twice.
	return try(0)
}

// chose remembers the port for peers. Where that fails, on a full disk
// perhaps, the node can still read and serve.
func (d *daemon) chose(path string, was, port int) {
	if was != 0 {
		d.note("port " + strconv.Itoa(was) + ", at which peers know this node, is taken; it is on port " + strconv.Itoa(port) + " now")
	}
	b, err := json.Marshal(ports{Peer: port})
	if err == nil {
		err = replace(path, append(b, '\n'))
	}
	if err != nil {
		d.note("the port for peers can't be remembered, so they may not find this node after a restart: " + err.Error())
	}
}

// note notes what is not as asked for, for those who start the node.
func (d *daemon) note(text string) {
	if d.ready.Note != "" {
		text = d.ready.Note + "; " + text
	}
	d.ready.Note = text
}

// readPorts reads the ports file; it is no error if there is none.
func readPorts(path string) (p ports, err error) {
	b, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return ports{}, nil
	}
	if err == nil {
		err = json.Unmarshal(b, &p)
	}
	if err == nil && (p.Peer < 1 || p.Peer > 65535) {
		err = sennit.Errorf(sennit.Internal, "%d is no port", p.Peer)
	}
	if err != nil {
		return ports{}, sennit.Errorf(sennit.Internal, "%s can't be used: %w", path, err)
	}
	return p, nil
}

// openPort reports whether some of the multiaddrs leave the port open.
func openPort(listen []string) bool {
	for _, a := range listen {
		if withPort([]string{a}, 1)[0] != a {
			return true
		}
	}
	return false
}

// withPort puts a port in place of each port 0.
func withPort(listen []string, port int) []string {
	out := make([]string, len(listen))
	for i, a := range listen {
		parts := strings.Split(a, "/")
		for j := 1; j < len(parts); j++ {
			if (parts[j-1] == "udp" || parts[j-1] == "tcp") && parts[j] == "0" {
				parts[j] = strconv.Itoa(port)
			}
		}
		out[i] = strings.Join(parts, "/")
	}
	return out
}
