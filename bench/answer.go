package bench

import (
	"bytes"
	"errors"
	"fmt"
	"strconv"
)

// maxAnswer bounds one answer, head and body, in bytes.
const maxAnswer = 4 << 10

var (
	headEnd       = []byte("\r\n\r\n")
	lineEnd       = []byte("\r\n")
	contentLength = []byte("content-length")
)

// answers recognises the ends of HTTP/1.1 answers. It remembers the last good
// one: an answer of the very same bytes, which is what a pixel is, is accepted by
// comparison and not parsed. One goroutine uses it.
type answers struct {
	last []byte
}

// end returns the length of the answer that b starts with, 0 if it is not
// complete, and whether its status is 200. More bytes than one answer are an
// error: nothing was asked that they could answer.
func (a *answers) end(b []byte) (n int, ok bool, err error) {
	if len(b) > 0 && len(b) == len(a.last) && bytes.Equal(b, a.last) {
		return len(b), true, nil
	}
	head := bytes.Index(b, headEnd)
	if head < 0 {
		if len(b) >= maxAnswer {
			return 0, false, fmt.Errorf("answer: no end of head within %d bytes", len(b))
		}
		return 0, false, nil
	}
	status, size, err := parseHead(b[:head])
	if err != nil {
		return 0, false, err
	}
	n = head + len(headEnd) + size
	switch {
	case n > maxAnswer:
		return 0, false, fmt.Errorf("answer: %d bytes, at most %d are expected", n, maxAnswer)
	case len(b) > n:
		return 0, false, fmt.Errorf("answer: %d bytes after the end", len(b)-n)
	case len(b) < n:
		return 0, false, nil
	}
	if status == 200 {
		a.last = append(a.last[:0], b...)
	}
	return n, status == 200, nil
}

// parseHead returns status and body length of a head without its final empty line.
func parseHead(head []byte) (status, size int, err error) {
	line, rest, _ := bytes.Cut(head, lineEnd)
	if len(line) < 12 || !bytes.HasPrefix(line, []byte("HTTP/1.1 ")) {
		return 0, 0, fmt.Errorf("answer: status line %.40q", line)
	}
	status, err = strconv.Atoi(string(line[9:12]))
	if err != nil || status < 200 || status > 599 {
		return 0, 0, fmt.Errorf("answer: status line %.40q", line)
	}
	size = -1
	for len(rest) > 0 {
		line, rest, _ = bytes.Cut(rest, lineEnd)
		name, value, found := bytes.Cut(line, []byte(":"))
		if !found {
			return 0, 0, fmt.Errorf("answer: header line %.40q", line)
		}
		if len(name) != len(contentLength) || !bytes.EqualFold(name, contentLength) {
			continue
		}
		size, err = strconv.Atoi(string(bytes.TrimSpace(value)))
		if err != nil || size < 0 {
			return 0, 0, fmt.Errorf("answer: header line %.40q", line)
		}
	}
	if size < 0 {
		return 0, 0, errors.New("answer: no Content-Length")
	}
	return status, size, nil
}
