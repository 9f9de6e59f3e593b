package httpdoor

import (
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/sennit/sennit"
)

// life takes the parameter "live" of a POST: that its body is a live message,
// and for how many seconds it counts. It reports whether it is there.
func (t target) life() (life time.Duration, live bool, err error) {
	q, err := parseQuery(t.query)
	if err != nil {
		return 0, false, err
	}
	if _, live = q["live"]; !live {
		return 0, false, nil
	}
	text, err := q.text("live")
	if err == nil {
		err = q.done()
	}
	if err != nil || text == "" {
		return 0, true, err
	}
	bad := sennit.Errorf(sennit.BadInput, "%.20q is not a number of seconds, at least 0.001 and at most %.0f", text, sennit.MaxMessageLife.Seconds())
	if len(text) > 10 || strings.Trim(text, "0123456789.") != "" {
		return 0, true, bad
	}
	seconds, err := strconv.ParseFloat(text, 64)
	if err != nil || seconds < 0.001 || seconds > sennit.MaxMessageLife.Seconds() {
		return 0, true, bad
	}
	return time.Duration(seconds*1000+0.5) * time.Millisecond, true, nil
}

// send sends the body of a POST to whoever watches the path.
func (d *Door) send(w http.ResponseWriter, r *http.Request, c Caller, t target, life time.Duration) error {
	if err := checkConditions(r, reprDigest); err != nil {
		return err
	}
	var v sennit.Value
	var err error
	if v.Type, err = contentType(r.Header); err != nil {
		return err
	}
	if v.Data, err = readBody(w, r, sennit.MaxMessage); err != nil {
		return err
	}
	if err := d.cfg.Bus(c).Send(r.Context(), t.addr, v, life); err != nil {
		return err
	}
	w.WriteHeader(http.StatusAccepted)
	return nil
}
