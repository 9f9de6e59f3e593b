package e2e_test

import (
	"encoding/json"
	"flag"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/sennit/sennit"
)

var pictures = flag.String("pictures", "", "a directory for pictures of the page")

// joinGoal is how soon after the click the friend's newest posts are there.
const joinGoal = 5 * time.Second

// arrival is a script that answers once the newest posts are, in this order,
// what it is given, with the milliseconds that it took from a click; or after
// some milliseconds with null, because they are not.
const arrival = `(click => new Promise(done => {
	const want = %s, begun = performance.now()
	const look = () => {
		const have = [...document.querySelectorAll("article p")].slice(0, want.length).map(p => p.textContent)
		if (have.length !== want.length || want.some((w, i) => w !== have[i])) return
		end(performance.now() - begun)
	}
	const end = took => { watching.disconnect(); clearTimeout(late); done(took) }
	const watching = new MutationObserver(look), late = setTimeout(end, %s, null)
	watching.observe(document.body, { subtree: true, childList: true, characterData: true })
	click()
	look()
}))`

// arrive waits until the newest posts on the page are these, counted from when
// a script was run.
func (p *page) arrive(t testing.TB, posts []string, click string, args ...any) time.Duration {
	t.Helper()
	var ms *float64
	// The browser's own patience ends after this one.
	p.run(&ms, arrival+"(() => {"+click+"})", append([]any{posts, (wait * 9 / 10).Milliseconds()}, args...)...)
	if ms == nil {
		t.Fatalf("the posts that begin with %q are not on the page\n%s", posts[0], p.state(t))
	}
	return time.Duration(*ms * float64(time.Millisecond))
}

// state is what there is to know when something doesn't come: what the page
// shows, and what the nodes say of themselves.
func (p *page) state(t testing.TB) string {
	t.Helper()
	var shows json.RawMessage
	p.run(&shows, `({ notice: document.getElementById("notice").textContent, state: document.getElementById("state").textContent,
		saved: document.getElementById("saved").textContent, known: posts.size, shown: document.querySelectorAll("article").length,
		first: [...document.querySelectorAll("article")].slice(0, 3).map(el => el.dataset.path + " " + el.querySelector("p").textContent) })`)
	all := []string{"the page shows " + string(shows)}
	for _, n := range p.b.nodes {
		for _, command := range []string{"status", "follows"} {
			out, errs, _ := n.try(command, "--json", "--timeout", "10s")
			all = append(all, fmt.Sprintf("%s of %s: %s%s", command, n.ready.HTTP, out, errs))
		}
	}
	return strings.Join(all, "\n")
}

// post is a post as the page writes it.
func post(t testing.TB, path, text, name string) sennit.Change {
	t.Helper()
	body, err := json.Marshal(map[string]string{"text": text, "name": name})
	if err != nil {
		t.Fatal(err)
	}
	return sennit.Change{Kind: sennit.KindPut, Path: sennit.MustPath("posts/" + path), Value: sennit.Value{Type: "application/json", Data: body}}
}

// TestAFriendsPostsAreOnThePageSoonAfterTheInvitation is the first thing that
// anybody does with a friend.
func TestAFriendsPostsAreOnThePageSoonAfterTheInvitation(t *testing.T) {
	a := start(t)
	c := a.client()
	var newest []string
	for i := 0; i < 10_000; {
		var batch []sennit.Change
		for range 1000 {
			batch = append(batch, post(t, fmt.Sprintf("%06d", i), fmt.Sprintf("This is post number %d.", i), "Alice"))
			i++
		}
		if _, err := c.Write(t.Context(), "me", batch); err != nil {
			t.Fatal(err)
		}
	}
	for i := 9999; i >= 9980; i-- {
		newest = append(newest, fmt.Sprintf("This is post number %d.", i))
	}
	web := browse(t)
	link := a.do("invite", "new")

	b := start(t)
	bob := web.open(b)
	bob.picture("new")
	bob.orders(t)
	took := bob.arrive(t, newest, `document.getElementById("link-in").value = %s; document.querySelector("#join button").click()`, link)
	t.Logf("20 of 10,000 posts are on the page %v after the click", took.Round(time.Millisecond))
	if goal := slack(joinGoal); took > goal {
		t.Errorf("it took %v; at most %v will do", took, goal)
	}

	bob.picture("joined")
	var quiet struct{ Notice, State string }
	eventually(t, "the page says that they follow each other", func() bool {
		bob.run(&quiet, `({ notice: document.getElementById("notice").textContent, state: document.getElementById("state").textContent })`)
		return strings.HasPrefix(quiet.Notice, "You follow each other now. 10000 values")
	})
	if quiet.State != "live" {
		t.Errorf("the page says that it is %q", quiet.State)
	}

	alice := web.open(a)
	alice.arrive(t, newest, "")
	for _, one := range []struct {
		name, text string
		from, to   *page
	}{{"Alice", "Hello Bob, welcome!", alice, bob}, {"Bob", "Hi Alice.\nIt works: 你好 👋 <b>not bold</b>", bob, alice}} {
		begun := time.Now()
		one.from.write(one.name, one.text)
		newest = append([]string{one.text}, newest...)[:20]
		one.to.arrive(t, newest, "")
		t.Logf("%s's post was on the other's page after %v", one.name, time.Since(begun).Round(time.Millisecond))
		eventually(t, "the page says that the post is on the peer", func() bool {
			var saved string
			one.from.run(&saved, `document.getElementById("saved").textContent`)
			return saved == "saved here and on 1 peer"
		})
	}

	alice.invite(t)
	for _, scheme := range []string{"light", "dark"} {
		alice.scheme(scheme)
		for _, width := range []int{320, 800} {
			alice.size(width, 900)
			alice.fits(t, fmt.Sprintf("%s, %d px", scheme, width))
			alice.picture(fmt.Sprintf("%s-%d-invite", scheme, width))
		}
	}
	alice.run(nil, `document.getElementById("close").click()`)
	for _, scheme := range []string{"light", "dark"} {
		bob.scheme(scheme)
		for _, width := range []int{320, 800} {
			bob.size(width, 900)
			bob.fits(t, fmt.Sprintf("%s, %d px", scheme, width))
			bob.picture(fmt.Sprintf("%s-%d", scheme, width))
		}
	}
	web.clean(a.ready.HTTP, b.ready.HTTP)
}

// orders checks that posts are in order of time. Zeros at the end of a fraction
// of a second are not sent, so times are not in the order of their texts.
func (p *page) orders(t testing.TB) {
	t.Helper()
	var order []string
	p.run(&order, `(() => {
		for (const time of ["05:06.129Z", "05:06Z", "05:06.12Z", "05:06.9Z", "05:06.123Z"]) take({ head: { "content-location": "/x/posts/" + time, time: "2026-02-03T04:" + time }, body: "x" })
		const order = trim().map(p => p.path.split("/")[3])
		posts.clear()
		return order
	})()`)
	if want := []string{"05:06.9Z", "05:06.129Z", "05:06.123Z", "05:06.12Z", "05:06Z"}; !slices.Equal(order, want) {
		t.Errorf("posts are in the order %q, want %q", order, want)
	}
}

// write writes a post on the page.
func (p *page) write(name, text string) {
	p.b.t.Helper()
	p.run(nil, `(() => {
		document.getElementById("name").value = %s
		document.getElementById("text").value = %s
		document.querySelector("#compose button").click()
	})()`, name, text)
}

// invite opens the dialog with an invitation and looks at it.
func (p *page) invite(t testing.TB) {
	t.Helper()
	p.run(nil, `document.getElementById("invite").click()`)
	var got struct {
		Open   bool
		Link   string
		Side   float64 // of the code, in CSS pixels
		Shapes int
	}
	eventually(t, "the dialog shows a link and its code", func() bool {
		p.run(&got, `({ open: document.getElementById("dialog").open, link: document.getElementById("link").textContent,
			side: document.querySelector("#qr svg")?.getBoundingClientRect().width || 0, shapes: document.querySelectorAll("#qr path").length })`)
		return got.Shapes == 2
	})
	if !got.Open || !strings.HasPrefix(got.Link, "sennit:") || got.Side < 150 {
		t.Errorf("the invitation is %+v", got)
	}
}

// fits checks that nothing hangs over the edge, and that text can be read
// against what is behind it (WCAG 2.2, 1.4.3).
func (p *page) fits(t testing.TB, what string) {
	t.Helper()
	var got struct {
		Over  float64
		Faint []string
	}
	p.run(&got, `(() => {
		const canvas = document.createElement("canvas").getContext("2d", { willReadFrequently: true })
		const rgb = colour => { canvas.clearRect(0, 0, 1, 1); canvas.fillStyle = colour; canvas.fillRect(0, 0, 1, 1); return [...canvas.getImageData(0, 0, 1, 1).data] }
		const light = c => c.slice(0, 3).map(v => v / 255).map(v => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4).reduce((s, v, i) => s + v * [0.2126, 0.7152, 0.0722][i], 0)
		const behind = el => { for (; el; el = el.parentElement) { const c = rgb(getComputedStyle(el).backgroundColor); if (c[3] === 255) return c } return [255, 255, 255, 255] }
		const faint = []
		for (const el of document.querySelectorAll("body *")) {
			if (![...el.childNodes].some(n => n.nodeType === 3 && n.textContent.trim()) || !el.checkVisibility() || el.closest("script, style")) continue
			const a = light(rgb(getComputedStyle(el).color)), b = light(behind(el)), ratio = (Math.max(a, b) + .05) / (Math.min(a, b) + .05)
			if (ratio < 4.5) faint.push(el.tagName + " " + el.id + " " + el.className + ": " + ratio.toFixed(2))
		}
		return { over: document.documentElement.scrollWidth - innerWidth, faint: [...new Set(faint)] }
	})()`)
	if got.Over > 0 {
		t.Errorf("%s: the page is %v px too wide", what, got.Over)
	}
	if len(got.Faint) > 0 {
		t.Errorf("%s: hard to read: %q", what, got.Faint)
	}
}
