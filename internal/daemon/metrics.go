package daemon

import (
	"net/http"
	"net/http/pprof"
	"strconv"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// figures is what GET /metrics tells, in the names and units that Prometheus
// asks for. It is gathered when somebody asks: nothing is counted for it on the
// way of a write. No label is a key, a path or a name of anybody: what is told
// may be kept for years, elsewhere.
type figures struct {
	d   *daemon
	all []*prometheus.Desc

	info, requests, refused, subscribers, slow     *prometheus.Desc
	spaces, arrivals, store, blobs, lacking, bytes *prometheus.Desc
	size, free, reserve, full                      *prometheus.Desc
	peers, shared, equal, ahead, forks, wrong      *prometheus.Desc
}

func (d *daemon) metrics() http.Handler {
	var all []*prometheus.Desc
	desc := func(name, help string, labels ...string) *prometheus.Desc {
		all = append(all, prometheus.NewDesc("sennit_"+name, help, labels, nil))
		return all[len(all)-1]
	}
	f := &figures{
		d:           d,
		info:        desc("build_info", "1, with the version as a label", "version"),
		requests:    desc("http_requests_total", "requests of the HTTP door", "method"),
		refused:     desc("http_refused_total", "answers with a status of 400 and more", "status"),
		subscribers: desc("http_subscribers", "subscriptions over HTTP"),
		slow:        desc("http_slow_subscribers", "subscriptions whose clients take less than they are sent"),
		spaces:      desc("spaces", "spaces of which something is here"),
		arrivals:    desc("commits_total", "commits that arrived in this store, its own ones too"),
		store:       desc("store_bytes", "what the store takes on disk"),
		blobs:       desc("blobs_bytes", "what large values take on disk"),
		lacking:     desc("blobs_missing", "large values of followed spaces that are not here"),
		bytes:       desc("blobs_missing_bytes", "the size of those"),
		size:        desc("disk_size_bytes", "the size of the disk"),
		free:        desc("disk_free_bytes", "what is free on it"),
		reserve:     desc("disk_reserve_bytes", "what is to stay free"),
		full:        desc("disk_full", "1 if less is free than that, so that nothing is written"),
		peers:       desc("peers", "sessions with other nodes"),
		shared:      desc("peer_spaces", "spaces that are replicated with those, each counted for each peer"),
		equal:       desc("peer_spaces_synced", "those of them of which both hold the same"),
		ahead:       desc("clock_ahead_seconds", "by how much this clock is ahead of most peers'"),
		forks:       desc("forked_devices", "devices of others that signed two histories of a log"),
		wrong:       desc("warnings", "what sennit status warns of"),
	}
	f.all = all
	reg := prometheus.NewRegistry()
	reg.MustRegister(f, collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return promhttp.HandlerFor(reg, promhttp.HandlerOpts{EnableOpenMetrics: true, MaxRequestsInFlight: 4})
}

// Describe implements [prometheus.Collector].
func (f *figures) Describe(to chan<- *prometheus.Desc) {
	for _, d := range f.all {
		to <- d
	}
}

// Collect implements [prometheus.Collector].
func (f *figures) Collect(to chan<- prometheus.Metric) {
	gauge := func(desc *prometheus.Desc, v float64, labels ...string) {
		to <- prometheus.MustNewConstMetric(desc, prometheus.GaugeValue, v, labels...)
	}
	count := func(desc *prometheus.Desc, v uint64, labels ...string) {
		to <- prometheus.MustNewConstMetric(desc, prometheus.CounterValue, float64(v), labels...)
	}
	d := f.d
	gauge(f.info, 1, Version())
	door := d.door.Stats()
	for method, n := range door.Requests {
		count(f.requests, n, method)
	}
	for status, n := range door.Refused {
		count(f.refused, n, strconv.Itoa(status))
	}
	gauge(f.subscribers, float64(door.Subscribers))
	gauge(f.slow, float64(door.Slow))

	gauge(f.spaces, float64(len(d.node.Spaces())))
	if n, err := d.node.Arrivals(); err == nil {
		count(f.arrivals, n)
	}
	gauge(f.store, float64(d.store.DiskUsage()))
	gauge(f.blobs, float64(d.blobs.Usage()))
	missing := d.swarm.Pending(0)
	gauge(f.lacking, float64(missing.Blobs))
	gauge(f.bytes, float64(missing.Bytes))
	if disk, err := d.disk.look(); disk.Size > 0 {
		gauge(f.size, float64(disk.Size))
		gauge(f.free, float64(disk.Free))
		gauge(f.reserve, float64(disk.Reserve))
		full := 0.0
		if err != nil || disk.Full {
			full = 1
		}
		gauge(f.full, full)
	}

	peers := d.rep.Peers()
	shared, equal := 0, 0
	for _, p := range peers {
		shared += len(p.Spaces)
		for _, sp := range p.Spaces {
			if sp.Synced {
				equal++
			}
		}
	}
	gauge(f.peers, float64(len(peers)))
	gauge(f.shared, float64(shared))
	gauge(f.equal, float64(equal))
	gauge(f.ahead, d.rep.Ahead().Seconds())
	gauge(f.forks, float64(d.otherForks()))
	gauge(f.wrong, float64(len(d.warnings())))
}

// profiles serves what go tool pprof reads, at /_node/pprof/NAME.
func profiles(mux *http.ServeMux) {
	const at = "GET /_node/pprof/"
	for _, name := range []string{"allocs", "block", "goroutine", "heap", "mutex", "threadcreate"} {
		mux.Handle(at+name, pprof.Handler(name))
	}
	mux.HandleFunc(at+"profile", pprof.Profile)
	mux.HandleFunc(at+"trace", pprof.Trace)
	mux.HandleFunc(at+"symbol", pprof.Symbol)
}
