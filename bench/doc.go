// Package bench measures a mailwake server from outside, as any client sees it.
//
//	bench ── starts ──▶ mailwake serve, mailwake bench baseline   (own processes, loopback only)
//	  ├─ Generator ─▶ GET /o/{token}.gif   closed loop (as fast as answers come) or open loop (fixed rate)
//	  ├─ /proc     ─▶ CPU time and memory of the server alone
//	  └─ client    ─▶ SQL, KPIs, metrics: what was stored, what is visible
//
// The programs: Pixel compares durable pixel requests with fasthttp
// that stores nothing, in slices by turns, Fresh measures how soon an answered request is in a query,
// Soak holds a rate for minutes and watches memory, Readers holds a rate while
// others ask SQL and KPIs. Bulk, Flush, Compact, Restart and KPI follow a world of
// events from the bulk door to the answers, beside ClickHouse and DuckDB. Decide
// alone measures within its own process: no door shows the cost of consent.
//
// Invariant: a figure is reported only of traffic whose every answer was counted
// and found stored, exactly once, also after the server was stopped and started
// again. Otherwise the programs return an error that says what differs.
//
// In an open loop the latency of a request counts from the moment it was due,
// not from the moment it could be sent, so a server that stalls cannot hide it.
package bench
