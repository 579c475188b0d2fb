package main

import (
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"

	"mailwake/engine"
	"mailwake/engine/blob"
	"mailwake/engine/wal"
)

// metrics exports the readings of the stack. No label ever holds an address, a
// token or an organisation.
func metrics(st *stack) *prometheus.Registry {
	reg := prometheus.NewRegistry()
	reg.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	count := func(name, help string, labels prometheus.Labels, read func() float64) {
		reg.MustRegister(prometheus.NewCounterFunc(prometheus.CounterOpts{Namespace: "mailwake", Name: name, Help: help, ConstLabels: labels}, read))
	}
	gauge := func(name, help string, read func() float64) {
		reg.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{Namespace: "mailwake", Name: name, Help: help}, read))
	}
	eng, public := st.engine, st.public
	count("events_appended_total", "Events made durable.", nil, func() float64 { return float64(eng.Stats().Appended) })
	count("events_flushed_total", "Events committed to tables.", nil, func() float64 { return float64(eng.Stats().Flushed) })
	count("flushes_total", "Flushes committed.", nil, func() float64 { return float64(eng.Stats().Flushes) })
	count("flush_failures_total", "Flushes that failed and are tried again.", nil, func() float64 { return float64(eng.Stats().FlushFailures) })
	for i, step := range engine.FlushSteps {
		count("flush_seconds_total", "Time spent in the steps of flushes.", prometheus.Labels{"step": step}, func() float64 { return eng.Stats().FlushTime[i].Seconds() })
	}
	gauge("log_bytes", "Bytes of log not yet trimmed.", func() float64 { return float64(eng.Stats().LogBytes) })
	reg.MustRegister(logSyncs(eng))
	gauge("tail_rows", "Events not yet in a table.", func() float64 { return float64(eng.Stats().TailRows) })
	gauge("tail_age_seconds", "Age of the oldest event not yet in a table.", func() float64 { return eng.Stats().TailAge.Seconds() })

	count("public_requests_total", "Requests answered on the public plane.", prometheus.Labels{"kind": "pixel"}, func() float64 { return float64(public.Stats().Pixels) })
	count("public_requests_total", "Requests answered on the public plane.", prometheus.Labels{"kind": "click"}, func() float64 { return float64(public.Stats().Clicks) })
	count("public_requests_total", "Requests answered on the public plane.", prometheus.Labels{"kind": "attachment"}, func() float64 { return float64(public.Stats().Files) })
	count("public_requests_total", "Requests answered on the public plane.", prometheus.Labels{"kind": "preference"}, func() float64 { return float64(public.Stats().Preferences) })
	outcome := func(name string, read func() float64) {
		count("public_outcomes_total", "What became of requests on the public plane.", prometheus.Labels{"outcome": name}, read)
	}
	outcome("recorded", func() float64 { return float64(public.Stats().Recorded) })
	outcome("invalid_token", func() float64 { return float64(public.Stats().Invalid) })
	outcome("not_allowed", func() float64 { return float64(public.Stats().NotAllowed) })
	outcome("prefetched", func() float64 { return float64(public.Stats().Prefetched) })
	outcome("not_recorded", func() float64 { return float64(public.Stats().NotRecorded) })

	retentionMetrics(st.keeper, count)

	deliveries := func(outcome string, read func() float64) {
		count("lmtp_deliveries_total", "What was answered to deliveries of replies over LMTP, by address.", prometheus.Labels{"outcome": outcome}, read)
	}
	deliveries("accepted", func() float64 { return float64(st.lmtp.Stats().Accepted) })
	deliveries("deferred", func() float64 { return float64(st.lmtp.Stats().Deferred) })
	deliveries("refused", func() float64 { return float64(st.lmtp.Stats().Refused) })

	store := st.node.store
	for op, read := range map[string]func(blob.Stats) blob.OpStats{
		"put": func(s blob.Stats) blob.OpStats { return s.Put }, "get": func(s blob.Stats) blob.OpStats { return s.Get },
		"stat": func(s blob.Stats) blob.OpStats { return s.Stat }, "list": func(s blob.Stats) blob.OpStats { return s.List },
		"delete": func(s blob.Stats) blob.OpStats { return s.Delete },
	} {
		labels := prometheus.Labels{"op": op}
		count("store_calls_total", "Calls of the blob store.", labels, func() float64 { return float64(read(store.Stats()).Calls) })
		count("store_errors_total", "Calls of the blob store that failed.", labels, func() float64 { return float64(read(store.Stats()).Errors) })
		count("store_bytes_total", "Bytes to and from the blob store.", labels, func() float64 { return float64(read(store.Stats()).Bytes) })
		count("store_busy_seconds_total", "Time spent inside the blob store.", labels, func() float64 { return read(store.Stats()).Busy.Seconds() })
	}
	return reg
}

// logSyncs is the histogram of wal.SyncTimes.
func logSyncs(eng *engine.Engine) prometheus.Collector {
	desc := prometheus.NewDesc("mailwake_log_sync_seconds", "How long the disk took to make a group of events durable (fdatasync).", nil, nil)
	return prometheus.CollectorFunc(func(to chan<- prometheus.Metric) {
		times := eng.Stats().LogSyncs
		upTo, sum := map[float64]uint64{}, uint64(0)
		for i, bound := range wal.SyncBounds {
			sum += times.Counts[i]
			upTo[bound.Seconds()] = sum
		}
		to <- prometheus.MustNewConstHistogram(desc, sum+times.Counts[len(wal.SyncBounds)], times.Sum.Seconds(), upTo)
	})
}
