package main

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"strconv"
)

// Of events.
const (
	eventSize = 200  // bytes
	crowdSize = 1000 // subscribers
	// subject is what Redis and NATS call the place of events.
	subject = "fan"
)

// dialect is how one speaks to a server: what is sent is made in advance, and of
// what comes back only that is looked at which must be.
type dialect struct {
	greet, greeted string // what a connection says first that doesn't subscribe, and the end of the answer
	join, joined   string // what a subscriber says, and what it hears when it is in
	// put is event number i, and mark a byte that each event has once, and
	// nothing else that a subscriber is sent has.
	put  func(i int) []byte
	mark byte
	// answer is the length of the first whole answer in b, and the value in it;
	// 0 if more must come.
	answer func(b []byte) (n int, value []byte, err error)
}

// event is the value of each event.
func event(mark string) []byte {
	return append([]byte(mark), bytes.Repeat([]byte("x"), eventSize-len(mark))...)
}

// request is a request over HTTP.
func request(method, path, header string, body []byte) []byte {
	length := ""
	if body != nil {
		length = fmt.Sprintf("Content-Length: %d\r\n", len(body))
	}
	return append(fmt.Appendf(nil, "%s %s HTTP/1.1\r\nHost: localhost\r\n%s%s\r\n", method, path, header, length), body...)
}

var (
	headEnd     = []byte("\r\n\r\n")
	lengthNames = [][]byte{[]byte("\r\nContent-Length: "), []byte("\r\ncontent-length: ")}
)

// httpAnswer takes an answer over HTTP, which must have a length or no content.
func httpAnswer(b []byte) (int, []byte, error) {
	head := bytes.Index(b, headEnd)
	if head < 0 {
		return 0, nil, nil
	}
	if len(b) < 12 || b[9] != '2' {
		return 0, nil, fmt.Errorf("the answer is %.200q", b)
	}
	size := 0
	for _, name := range lengthNames {
		if at := bytes.Index(b[:head], name); at >= 0 {
			for _, digit := range b[at+len(name) : head] {
				if digit < '0' || digit > '9' {
					break
				}
				size = 10*size + int(digit-'0')
			}
		}
	}
	end := head + len(headEnd) + size
	if len(b) < end {
		return 0, nil, nil
	}
	return end, b[head+len(headEnd) : end], nil
}

// sennitDialect puts each event at a path of its own, so that none replaces
// another that a slow subscriber hasn't read.
func sennitDialect(token string) dialect {
	header := "Authorization: Bearer " + token + "\r\n"
	value := event("~")
	return dialect{
		join: string(request("GET", "/me/fan/", header+"Subscribe: ?1\r\n", nil)), joined: "Live: ?1", mark: '~', answer: httpAnswer,
		put: func(i int) []byte {
			return request("PUT", fmt.Sprintf("/me/fan/%d", i), header+"Content-Type: text/plain\r\n", value)
		},
	}
}

func braidDialect() dialect {
	value := event("~")
	return dialect{
		join: string(request("GET", "/fan", "Subscribe: true\r\n", nil)), joined: "HTTP 200 OK", mark: '~', answer: httpAnswer,
		put: func(int) []byte { return request("PUT", "/fan", "Content-Type: text/plain\r\n", value) },
	}
}

func redisDialect() dialect {
	put := fmt.Appendf(nil, "*3\r\n$7\r\nPUBLISH\r\n$%d\r\n%s\r\n$%d\r\n%s\r\n", len(subject), subject, eventSize, event("~"))
	return dialect{
		join: "SUBSCRIBE " + subject + "\r\n", joined: ":1\r\n", mark: '~',
		put: func(int) []byte { return put },
		answer: func(b []byte) (int, []byte, error) {
			end := bytes.IndexByte(b, '\n')
			if end < 0 {
				return 0, nil, nil
			}
			// It says how many the event went to.
			if n, err := strconv.Atoi(string(bytes.Trim(b[:end], ":\r"))); err != nil || n != crowdSize {
				return 0, nil, fmt.Errorf("the answer is %.200q", b)
			}
			return end + 1, nil, nil
		},
	}
}

// natsDialect has a PING after each event, so that there is an answer to wait for.
func natsDialect() dialect {
	const connect = `CONNECT {"verbose":false}` + "\r\n"
	put := fmt.Appendf(nil, "PUB %s %d\r\n%s\r\nPING\r\n", subject, eventSize, event("~"))
	return dialect{
		greet: connect + "PING\r\n", greeted: "PONG\r\n",
		join: connect + "SUB " + subject + " 1\r\nPING\r\n", joined: "PONG\r\n", mark: '~',
		put: func(int) []byte { return put },
		answer: func(b []byte) (int, []byte, error) {
			if bytes.Contains(b, []byte("-ERR")) {
				return 0, nil, fmt.Errorf("the answer is %.200q", b)
			}
			// The server may say PING by itself, which needs no answer for minutes.
			if at := bytes.Index(b, []byte("PONG\r\n")); at >= 0 {
				return at + len("PONG\r\n"), nil, nil
			}
			return 0, nil, nil
		},
	}
}

// etcdDialect is that of etcd's gateway, which speaks JSON over HTTP: the way in
// that needs no client of gRPC.
func etcdDialect() dialect {
	// In Base64 "xx?" is "eHg/", and the rest has no slash.
	key, value := base64.StdEncoding.EncodeToString([]byte(subject)), base64.StdEncoding.EncodeToString(event("xx?"))
	put := request("POST", "/v3/kv/put", "", fmt.Appendf(nil, `{"key":%q,"value":%q}`, key, value))
	return dialect{
		join: string(request("POST", "/v3/watch", "", fmt.Appendf(nil, `{"create_request":{"key":%q}}`, key))), joined: `"created":true`, mark: '/',
		put: func(int) []byte { return put }, answer: httpAnswer,
	}
}

// floorDialect is that of the server which does nothing but write.
func floorDialect() dialect {
	return dialect{
		join: floorJoin, joined: floorJoined, mark: '~',
		put: func(int) []byte { return []byte(floorGo) },
		answer: func(b []byte) (int, []byte, error) {
			switch {
			case len(b) < len(floorDone):
				return 0, nil, nil
			case string(b[:len(floorDone)]) != floorDone:
				return 0, nil, errors.New("the floor gave way")
			}
			return len(floorDone), nil, nil
		},
	}
}
