package bench

import "slices"

// Limits that Pixel checks: durable requests may be a tenth slower than those
// of fasthttp that stores nothing, and may cost 15 % more of CPU.
const (
	minRatio    = 0.9
	maxCPURatio = 1.15
	// maxHalfP99 is the longest p99 at half of the peak, in ms.
	maxHalfP99 = 10
)

// Columns of a number of connections.
const (
	overBaseline    = "requests/s over baseline"
	leastSlice      = "least slice"
	mostSlice       = "most slice"
	cpuOverBaseline = "CPU over baseline"
	atHalf          = "at half of the peak"
	halfP99         = "p99 " + atHalf
)

// report makes rows of the servers, then rows of mailwake's share, and holds these
// against the limits.
func (b *pixelBench) report() {
	s := b.sheet
	for _, l := range b.levels {
		for _, r := range l.servers {
			r.report(s, l.name+", "+r.node.name)
		}
	}
	s.RatioOf = "durable requests per second over the baseline's, at the number of connections where that is least"
	for _, l := range b.levels {
		l.report(s)
		if got := s.value(l.name, overBaseline); s.Ratio == 0 || got < s.Ratio {
			s.Ratio = got
		}
	}
}

func (l *pixelLevel) report(s *Sheet) {
	base, own := l.servers[0], l.servers[1]
	perSecond, cpu := ratio(own.perSecond(), base.perSecond()), ratio(own.cpu(), base.cpu())
	s.add(l.name, overBaseline, perSecond, "×")
	shares := own.over(base, func(t Traffic) float64 { return t.PerSecond })
	s.add(l.name, leastSlice, slices.Min(shares), "×")
	s.add(l.name, "median slice", median(shares), "×")
	s.add(l.name, mostSlice, slices.Max(shares), "×")
	s.add(l.name, cpuOverBaseline, cpu, "×")
	shares = own.over(base, func(t Traffic) float64 { return t.ServerCPU })
	s.add(l.name, "CPU, "+leastSlice, slices.Min(shares), "×")
	s.add(l.name, "CPU, "+mostSlice, slices.Max(shares), "×")
	s.add(l.name, "CPU with drain over baseline", ratio(own.withDrain, base.withDrain), "×")
	if len(l.servers) > 2 {
		s.add(l.name, "requests/s over nginx", ratio(own.perSecond(), l.servers[2].perSecond()), "×")
	}
	s.add(l.name, "p50 at half of the peak", l.half.Latency.P50/1e3, "ms")
	s.add(l.name, halfP99, l.half.Latency.P99/1e3, "ms")
	s.add(l.name, "fdatasyncs over "+longSync+" s "+atHalf, l.half.longSyncs, "")
	s.add(l.name, "p99 at half of the peak, baseline", l.halfBase.Latency.P99/1e3, "ms")
	s.atLeast(l.name+": "+overBaseline, minRatio, perSecond)
	s.atMost(l.name+": "+cpuOverBaseline, maxCPURatio, cpu, "×")
	s.atMost(l.name+": "+halfP99, maxHalfP99, l.half.Latency.P99/1e3, "ms")
	s.atMost(l.name+": due at half of the peak and not sent", 0, float64(l.half.Unsent), "requests")
}
