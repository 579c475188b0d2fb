package blob

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strings"
)

// Open returns the store at rawURL:
//
//	file:///absolute/path
//	azblob://CONTAINER[/PREFIX]?account=NAME[&auth=WAY][&endpoint=URL]
//
// WAY is connection-string, shared-key, sas or identity. Without it, the secret
// that the environment holds decides, and none means identity. Secrets come
// from the environment only, through env (os.Getenv, as a rule):
// AZURE_STORAGE_CONNECTION_STRING, AZURE_STORAGE_KEY (of the account) or
// AZURE_STORAGE_SAS_TOKEN, or the same with _FILE appended for the name of a
// file that holds it. A missing Azure container is created.
//
// Errors say what to set and never quote a secret or the URL, which may hold
// one by mistake. A transient one may be tried again.
func Open(ctx context.Context, rawURL string, env func(string) string) (Store, error) {
	u, err := url.Parse(rawURL)
	if err != nil {
		return nil, errors.New("storage: not a URL: want file:///absolute/path or azblob://CONTAINER?account=NAME")
	}
	switch u.Scheme {
	case "file":
		return openDir(u)
	case "azblob":
		return openAzure(ctx, u, env)
	default:
		return nil, fmt.Errorf("storage: unknown scheme %q: want file:///absolute/path or azblob://CONTAINER?account=NAME", u.Scheme)
	}
}

func openDir(u *url.URL) (Store, error) {
	if u.Host != "" && u.Host != "localhost" || u.User != nil || u.RawQuery != "" || u.Fragment != "" || !filepath.IsAbs(filepath.FromSlash(u.Path)) {
		return nil, errors.New("storage: want file:///absolute/path, with three slashes and nothing after the path")
	}
	return Dir(filepath.FromSlash(u.Path))
}

func openAzure(ctx context.Context, u *url.URL, env func(string) string) (Store, error) {
	if u.User != nil || u.Fragment != "" {
		return nil, errors.New("storage: want azblob://CONTAINER[/PREFIX]?account=NAME, without user or fragment")
	}
	q, err := url.ParseQuery(u.RawQuery)
	if err != nil {
		return nil, errors.New("storage: malformed parameters after the question mark")
	}
	for name, values := range q {
		switch {
		case name != "account" && name != "auth" && name != "endpoint":
			return nil, fmt.Errorf("storage: unknown parameter %q: azblob takes account, auth and endpoint; secrets belong into the environment", name)
		case len(values) > 1:
			return nil, fmt.Errorf("storage: parameter %q is there more than once", name)
		}
	}
	o := AzureOptions{
		Container: u.Host,
		Prefix:    strings.Trim(u.Path, "/"),
		Account:   q.Get("account"),
		Endpoint:  q.Get("endpoint"),
		Auth:      Auth(q.Get("auth")),
	}
	if err := o.readSecrets(env); err != nil {
		return nil, fmt.Errorf("storage: %w", err)
	}
	s, err := Azure(o)
	if err != nil {
		return nil, fmt.Errorf("storage: %w", err)
	}
	if err := s.Ensure(ctx); err != nil {
		return nil, fmt.Errorf("storage: %w", err)
	}
	return s, nil
}

// readSecrets finds the secret for o.Auth in the environment, or settles Auth
// by the one secret that is there.
func (o *AzureOptions) readSecrets(env func(string) string) error {
	ways := []struct {
		auth     Auth
		variable string
		secret   *Secret
	}{
		{AuthConnectionString, "AZURE_STORAGE_CONNECTION_STRING", &o.ConnectionString},
		{AuthSharedKey, "AZURE_STORAGE_KEY", &o.Key},
		{AuthSAS, "AZURE_STORAGE_SAS_TOKEN", &o.SAS},
	}
	var found []string
	settled := AuthIdentity
	for _, w := range ways {
		if o.Auth != "" && o.Auth != w.auth {
			continue
		}
		value, err := readSecret(env, w.variable)
		if err != nil {
			return err
		}
		if value == "" && o.Auth == w.auth {
			return fmt.Errorf("auth=%s needs the environment variable %s, or %s_FILE with the name of a file", w.auth, w.variable, w.variable)
		}
		if value != "" {
			*w.secret, settled = value, w.auth
			found = append(found, w.variable)
		}
	}
	if len(found) > 1 {
		return fmt.Errorf("%s are all set: say which one counts with auth=connection-string, shared-key, sas or identity", strings.Join(found, ", "))
	}
	if o.Auth == "" {
		o.Auth = settled
	}
	return nil
}

// readSecret returns the value of variable or the content of the file that
// variable_FILE names, without surrounding white space, and "" if neither is
// set.
func readSecret(env func(string) string, variable string) (Secret, error) {
	value, file := strings.TrimSpace(env(variable)), env(variable+"_FILE")
	if file == "" {
		return Secret(value), nil
	}
	if value != "" {
		return "", fmt.Errorf("%s and %s_FILE are both set: keep one", variable, variable)
	}
	b, err := os.ReadFile(file) //nolint:gosec // the operator names the file
	if err != nil {
		return "", fmt.Errorf("read %s_FILE: %w", variable, err)
	}
	if value = strings.TrimSpace(string(b)); value == "" {
		return "", fmt.Errorf("%s_FILE names an empty file", variable)
	}
	return Secret(value), nil
}
