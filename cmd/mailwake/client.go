package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"

	"mailwake/engine/problem"
)

// clientFlags say which server a command talks to, and of which organisation.
type clientFlags struct {
	serverFlags
	Org string `help:"Organisation." default:"default" placeholder:"NAME"`
}

// serverFlags say which server a command talks to.
type serverFlags struct {
	URL  string `help:"Private plane of the server; default is what DIR/server.json says." placeholder:"URL"`
	Key  string `help:"API key; default is DIR/admin.key. Prefer MAILWAKE_KEY: other users see command lines." placeholder:"KEY"`
	Data string `help:"Data folder of a server on this machine." default:"./mailwake-data" type:"path" placeholder:"DIR"`
}

// client calls the private plane.
type client struct{ base, key string }

func (f *serverFlags) client() (*client, error) {
	c := &client{base: strings.TrimSuffix(f.URL, "/"), key: f.Key}
	if c.base == "" {
		text, err := os.ReadFile(filepath.Join(f.Data, serverFile))
		if errors.Is(err, fs.ErrNotExist) {
			return nil, fmt.Errorf("no server has used the folder %s; start one with mailwake serve, or say --url or --data", f.Data)
		}
		if err != nil {
			return nil, fmt.Errorf("read server address: %w", err)
		}
		var at addresses
		if err := json.Unmarshal(text, &at); err != nil {
			return nil, fmt.Errorf("read server address: %w", err)
		}
		c.base = at.Private
	}
	if c.key == "" {
		text, err := os.ReadFile(filepath.Join(f.Data, keyFile))
		if err != nil {
			return nil, fmt.Errorf("no API key: set MAILWAKE_KEY or --key (%s is not readable)", filepath.Join(f.Data, keyFile))
		}
		c.key = strings.TrimSpace(string(text))
	}
	return c, nil
}

// call sends body as JSON, if any, and returns the answer's stream; a problem
// becomes an error. The caller closes the stream.
func (c *client) call(ctx context.Context, method, path string, query url.Values, body any) (io.ReadCloser, error) {
	var r io.Reader
	if body != nil {
		text, err := json.Marshal(body)
		if err != nil {
			return nil, err
		}
		r = bytes.NewReader(text)
	}
	return c.send(ctx, method, path, query, "application/json", r)
}

// send is call with a body of any kind.
func (c *client) send(ctx context.Context, method, path string, query url.Values, contentType string, r io.Reader) (io.ReadCloser, error) {
	if len(query) > 0 {
		path += "?" + query.Encode()
	}
	req, err := http.NewRequestWithContext(ctx, method, c.base+path, r)
	if err != nil {
		return nil, err
	}
	req.Header.Set("Authorization", "Bearer "+c.key)
	req.Header.Set("Content-Type", contentType)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		if ue, ok := errors.AsType[*url.Error](err); ok {
			err = ue.Err
		}
		return nil, fmt.Errorf("no answer from %s; is the server running? %w", c.base, err)
	}
	if resp.StatusCode < 300 {
		return resp.Body, nil
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	var p problemBody
	if err := errors.Join(err, json.Unmarshal(text, &p)); err != nil || p.Code == "" {
		return nil, fmt.Errorf("%s answered %s", c.base, resp.Status)
	}
	detail := p.Detail
	for _, e := range p.Errors {
		detail += fmt.Sprintf("; %s: %s", e.Location, e.Message)
	}
	told := problem.New(p.Status, p.Code, "%s", detail)
	_ = json.Unmarshal(text, &told.Members)
	return nil, told
}

// get decodes a JSON answer into out.
func (c *client) get(ctx context.Context, method, path string, query url.Values, body, out any) error {
	r, err := c.call(ctx, method, path, query, body)
	if err != nil {
		return err
	}
	defer r.Close()
	if err := json.NewDecoder(r).Decode(out); err != nil {
		return fmt.Errorf("read answer: %w", err)
	}
	return nil
}

func (f *clientFlags) orgPath(rest string) string {
	return "/v1/orgs/" + url.PathEscape(f.Org) + rest
}
