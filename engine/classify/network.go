package classify

import (
	_ "embed"
	"encoding/binary"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"slices"
	"sort"
	"strings"
)

//go:embed networks.csv
var networksCSV string

// Scope says which requests a network says something about.
type Scope uint8

// The scopes.
const (
	ScopeAll Scope = iota
	ScopeOpens
	ScopeClicks
)

// Certainty says how much a network decides.
type Certainty uint8

// The certainties.
const (
	Weak       Certainty = iota // decides nothing
	Supporting                  // counts together with the user agent
	Probable                    // noted as reason
	Certain                     // decides alone
)

// Role says what a network is.
type Role uint8

// The roles.
const (
	RoleOther   Role = iota
	RoleGateway      // scans mail and links
	RoleApple        // Apple, or a relay that fetches for Apple Mail
	RoleGoogle       // Google's image proxy and services
)

// Range is a network we know something about.
type Range struct {
	Prefix    netip.Prefix
	Scope     Scope
	Certainty Certainty
	Role      Role
	Label     string
}

// ParseNetworks reads networks in the form of the embedded list: CSV with the
// columns prefix, scope (all, open, clicks), certainty (certain, probable,
// supporting, weak), role (gateway, apple, google) and label, and a heading.
// Errors name the line.
func ParseNetworks(r io.Reader) ([]Range, error) {
	in := csv.NewReader(r)
	in.FieldsPerRecord = 5
	rows, err := in.ReadAll()
	if err != nil {
		return nil, fmt.Errorf("parse networks: %w", err)
	}
	if len(rows) == 0 || rows[0][0] != "prefix" {
		return nil, errors.New("parse networks: no heading")
	}
	networks := make([]Range, 0, len(rows)-1)
	for i, row := range rows[1:] {
		n, err := parseNetwork(row)
		if err != nil {
			return nil, fmt.Errorf("parse networks: row %d: %w", i+2, err)
		}
		networks = append(networks, n)
	}
	return networks, nil
}

func parseNetwork(row []string) (n Range, err error) {
	if n.Prefix, err = netip.ParsePrefix(row[0]); err != nil {
		return n, err
	}
	scopes := map[string]Scope{"all": ScopeAll, "open": ScopeOpens, "clicks": ScopeClicks}
	certainties := map[string]Certainty{"certain": Certain, "probable": Probable, "supporting": Supporting, "weak": Weak}
	roles := map[string]Role{"gateway": RoleGateway, "apple": RoleApple, "google": RoleGoogle}
	var ok [3]bool
	n.Scope, ok[0] = scopes[row[1]]
	n.Certainty, ok[1] = certainties[row[2]]
	n.Role, ok[2] = roles[row[3]]
	if ok != [3]bool{true, true, true} {
		return n, fmt.Errorf("scope %q, certainty %q or role %q is not known", row[1], row[2], row[3])
	}
	n.Label = row[4]
	return n, nil
}

// ParseAppleEgress reads Apple's list of Private Relay egress networks (CSV
// without a heading, the prefix first), as published at
// https://mask-api.icloud.com/egress-ip-ranges.csv.
func ParseAppleEgress(r io.Reader) ([]Range, error) {
	in := csv.NewReader(r)
	in.FieldsPerRecord = -1
	in.ReuseRecord = true
	var networks []Range
	for {
		row, err := in.Read()
		if errors.Is(err, io.EOF) {
			return networks, nil
		}
		if err != nil {
			return nil, fmt.Errorf("parse Apple egress list: %w", err)
		}
		p, err := netip.ParsePrefix(strings.TrimSpace(row[0]))
		if err != nil {
			return nil, fmt.Errorf("parse Apple egress list: %w", err)
		}
		networks = append(networks, Range{Prefix: p, Scope: ScopeOpens, Certainty: Certain, Role: RoleApple, Label: "Apple Private Relay"})
	}
}

func builtinNetworks() []Range {
	networks, err := ParseNetworks(strings.NewReader(networksCSV))
	if err != nil {
		panic("classify: embedded " + err.Error())
	}
	return networks
}

// table finds the longest prefix that holds an address. Nested prefixes are
// flattened to adjoining ranges, each with its innermost network, so that a
// lookup is one binary search.
type table struct {
	starts []netip.Addr
	owners []*Range // of the range from starts[i] to before starts[i+1]; nil none
	v4     []uint32 // the IPv4 part of starts; twice as fast to search
}

// newTable builds a table; of several networks with one prefix the last counts.
func newTable(networks []Range) *table {
	byPrefix := make(map[netip.Prefix]*Range, len(networks))
	for i := range networks {
		p := networks[i].Prefix.Masked()
		byPrefix[p] = &networks[i]
	}
	prefixes := make([]netip.Prefix, 0, len(byPrefix))
	for p := range byPrefix {
		prefixes = append(prefixes, p)
	}
	slices.SortFunc(prefixes, func(a, b netip.Prefix) int {
		if c := a.Addr().Compare(b.Addr()); c != 0 {
			return c
		}
		return a.Bits() - b.Bits() // the outer one first
	})

	t := &table{}
	var open []netip.Prefix // nested prefixes around the current address
	closeBefore := func(addr netip.Addr) {
		for len(open) > 0 && !(addr.IsValid() && open[len(open)-1].Contains(addr)) {
			end := lastAddr(open[len(open)-1])
			open = open[:len(open)-1]
			var outer *Range
			if len(open) > 0 {
				outer = byPrefix[open[len(open)-1]]
			}
			t.add(after(end), outer)
		}
	}
	for _, p := range prefixes {
		closeBefore(p.Addr())
		t.add(p.Addr(), byPrefix[p])
		open = append(open, p)
	}
	closeBefore(netip.Addr{})
	for _, start := range t.starts {
		if start.Is4() { // they sort before IPv6
			t.v4 = append(t.v4, number(start))
		}
	}
	return t
}

// add begins a range; one that begins at the same address is replaced. Nothing
// begins behind the last address.
func (t *table) add(start netip.Addr, owner *Range) {
	if !start.IsValid() {
		return
	}
	if n := len(t.starts); n > 0 && t.starts[n-1] == start {
		t.owners[n-1] = owner
		return
	}
	t.starts = append(t.starts, start)
	t.owners = append(t.owners, owner)
}

// lookup returns the innermost network of addr, or nil.
func (t *table) lookup(addr netip.Addr) *Range {
	addr = addr.Unmap()
	var i int // the first range that begins after addr
	switch {
	case !addr.IsValid():
		return nil
	case addr.Is4():
		i = after4(t.v4, number(addr))
	default:
		addr = addr.WithZone("")
		i = len(t.v4) + sort.Search(len(t.starts)-len(t.v4), func(i int) bool { return t.starts[len(t.v4)+i].Compare(addr) > 0 })
	}
	if i == 0 {
		return nil
	}
	return t.owners[i-1]
}

// after4 returns the index of the first start over addr.
func after4(starts []uint32, addr uint32) int {
	lo, hi := 0, len(starts)
	for lo < hi {
		if mid := (lo + hi) / 2; starts[mid] <= addr {
			lo = mid + 1
		} else {
			hi = mid
		}
	}
	return lo
}

func number(addr netip.Addr) uint32 {
	b := addr.As4()
	return binary.BigEndian.Uint32(b[:])
}

// after returns the address that follows a, the zero Addr behind the last one.
// Behind the last IPv4 address the IPv6 ones begin.
func after(a netip.Addr) netip.Addr {
	if next := a.Next(); next.IsValid() || a.Is6() {
		return next
	}
	return netip.IPv6Unspecified()
}

func lastAddr(p netip.Prefix) netip.Addr {
	b := p.Addr().AsSlice()
	for i := range b {
		if host := (i+1)*8 - p.Bits(); host >= 8 {
			b[i] = 0xff
		} else if host > 0 {
			b[i] |= 1<<host - 1
		}
	}
	last, _ := netip.AddrFromSlice(b)
	return last
}
