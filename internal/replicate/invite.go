package replicate

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io"
	"sync/atomic"
	"time"

	"github.com/multiformats/go-multiaddr"

	"github.com/sennit/sennit"

	"github.com/sennit/sennit/internal/keys"
	"github.com/sennit/sennit/internal/node"
	"github.com/sennit/sennit/internal/prefix"
	"github.com/sennit/sennit/internal/wire"
)

// Bounds of invitations.
const (
	MaxUses       = 1000
	MaxInvites    = 10_000
	MaxInviteLife = 366 * 24 * time.Hour
	inviteKey     = "invite/"
	joinTimeout   = 30 * time.Second
)

// Invite is an invitation that this node made. The seed is not kept: whoever
// has the link has it.
type Invite struct {
	ID      string      `json:"id"`             // public half of the one-time key, in hex
	Uses    int         `json:"uses"`           // people who can use it
	Used    int         `json:"used"`           // people who did
	Expires time.Time   `json:"expires"`        // when it runs out
	Reads   sennit.Path `json:"reads"`          // prefix of the default space that it lets read; "" is everything
	Open    sennit.Path `json:"open,omitempty"` // path that they are shown first
	Created time.Time   `json:"created"`        // when it was made
	By      []string    `json:"by,omitempty"`   // spaces that used it
}

// NewInvite makes an invitation and its link. The link is shown once.
func (r *Replicator) NewInvite(ctx context.Context, in Invite) (Invite, string, error) {
	now := r.cfg.Now()
	switch life := in.Expires.Sub(now); {
	case in.Uses < 1 || in.Uses > MaxUses:
		return in, "", sennit.Errorf(sennit.BadInput, "%d uses; 1 to %d are allowed", in.Uses, MaxUses)
	case life < time.Minute || life > MaxInviteLife:
		return in, "", sennit.Errorf(sennit.BadInput, "an invitation lasts between a minute and 366 days")
	}
	r.invites.Lock()
	defer r.invites.Unlock()
	all, err := r.Invites()
	if err != nil {
		return in, "", err
	}
	if len(all) >= MaxInvites {
		return in, "", sennit.Hint(sennit.Errorf(sennit.OverQuota, "there are %d invitations already", len(all)), "revoke some: sennit invite revoke")
	}
	link := &wire.Link{Space: r.n.Self().Space, Host: r.cfg.Self, Until: uint64(in.Expires.Unix() / 60), Open: in.Open}
	rand.Read(link.Seed[:])
	for _, text := range r.cfg.Addrs() {
		a, err := multiaddr.NewMultiaddr(text)
		if err != nil {
			return in, "", sennit.Errorf(sennit.Internal, "an own address: %w", err)
		}
		if a, _ = multiaddr.SplitLast(a); a != nil && len(link.Addrs) < wire.MaxLinkAddrs && len(a.Bytes()) <= wire.MaxLinkAddr {
			link.Addrs = append(link.Addrs, a.Bytes())
		}
	}
	pub := keys.InvitationKey(link.Seed).Public().(ed25519.PublicKey)
	in.ID, in.Created, in.Used, in.By = hex.EncodeToString(pub), now, 0, nil
	text, err := link.Text()
	for sennit.CodeOf(err) == sennit.TooLarge && len(link.Addrs) > 1 { // long names of hosts
		link.Addrs = link.Addrs[:len(link.Addrs)-1]
		text, err = link.Text()
	}
	if err != nil {
		return in, "", err
	}
	return in, text, r.saveInvite(ctx, &in)
}

func (r *Replicator) saveInvite(ctx context.Context, in *Invite) error {
	b, err := json.Marshal(in)
	if err != nil {
		return err
	}
	return r.n.SetLocal(ctx, map[string][]byte{inviteKey + in.ID: b})
}

// Invites lists the invitations that this node made and did not revoke.
func (r *Replicator) Invites() ([]Invite, error) {
	var all []Invite
	err := r.n.Locals(inviteKey, func(_ string, b []byte) error {
		var in Invite
		if err := json.Unmarshal(b, &in); err != nil {
			return sennit.Errorf(sennit.Internal, "the record of an invitation is damaged: %w", err)
		}
		all = append(all, in)
		return nil
	})
	return all, err
}

// RevokeInvite makes an invitation useless. Who used it already stays in.
func (r *Replicator) RevokeInvite(ctx context.Context, id string) error {
	r.invites.Lock()
	defer r.invites.Unlock()
	b, err := r.n.Local(inviteKey + id)
	if err != nil {
		return err
	}
	if b == nil {
		return sennit.Hint(sennit.Errorf(sennit.NotFound, "no invitation %.16s", id), "list them: sennit invite ls")
	}
	return r.n.SetLocal(ctx, map[string][]byte{inviteKey + id: nil})
}

// redeem lets in a peer that has an invitation. The statement is signed by the
// link's one-time key and names who uses it, so a link that is overheard on
// its way can't be used for somebody else without the seed.
func (s *session) redeem(ctx context.Context, f *wire.RedeemFrame) error {
	refuse := func(code sennit.Code, message string) error {
		return s.send(&wire.Problem{Code: code, Message: message})
	}
	s.mu.Lock()
	device := s.hello.Cert.Author
	s.mu.Unlock()
	pub, err := keys.Admit(f.Redeem.Invitation)
	if err != nil || !pub.Verify(keys.DomainRedeem, f.Redeem.Bytes(), &f.Sig) ||
		f.Redeem.Inviter != s.n.Self().Space || f.Redeem.Invitee != device {
		return refuse(sennit.Denied, "the invitation is not for this node, or it was altered")
	}
	if err := s.identify(&f.Evidence); err != nil {
		return err
	}
	in, err := s.r.use(ctx, hex.EncodeToString(f.Redeem.Invitation[:]), device.Space)
	switch code := sennit.CodeOf(err); {
	case code == sennit.Expired || code == sennit.Denied:
		return refuse(code, err.Error())
	case code == sennit.ReadOnly:
		return refuse(code, cantWrite)
	case err != nil:
		return err
	}
	grant := wire.Grant{
		Prefix: in.Reads, May: sennit.Read, Who: wire.Who{Subject: wire.SubjectSpace, Key: device.Space},
	}
	follow := node.Follow{Space: device.Space, Hosts: []node.Host{{Key: hostText(s.conn.Host())}}}
	switch err := s.befriend(ctx, grant, &f.Evidence, follow); {
	case sennit.CodeOf(err) == sennit.ReadOnly:
		return refuse(sennit.ReadOnly, cantWrite)
	case err != nil:
		return err
	}
	e := s.n.Evidence()
	return errors.Join(
		s.send(&wire.Welcome{Evidence: wire.Evidence{Inception: e.Inception, Events: e.Events}}),
		s.send(&wire.Addrs{Addrs: s.r.cfg.Addrs()}))
}

// cantWrite is what an invitee is told; why is not its business.
const cantWrite = "their node can't write at the moment"

// use counts a use of an invitation, durably, before anything is granted.
// Whoever used it before may use it again: the answer may have been lost.
func (r *Replicator) use(ctx context.Context, id string, by sennit.Space) (*Invite, error) {
	r.invites.Lock()
	defer r.invites.Unlock()
	b, err := r.n.Local(inviteKey + id)
	if err != nil {
		return nil, err
	}
	if b == nil {
		return nil, sennit.Errorf(sennit.Expired, "the invitation was revoked, or was never made here")
	}
	in := new(Invite)
	if err := json.Unmarshal(b, in); err != nil {
		return nil, sennit.Errorf(sennit.Internal, "the record of an invitation is damaged: %w", err)
	}
	for _, had := range in.By {
		if had == by.String() {
			return in, nil
		}
	}
	if !r.cfg.Now().Before(in.Expires) {
		return nil, sennit.Errorf(sennit.Expired, "the invitation expired on %s", in.Expires.UTC().Format("2 January 2006 at 15:04 UTC"))
	}
	if in.Used >= in.Uses {
		return nil, sennit.Errorf(sennit.Expired, "the invitation was used already")
	}
	in.Used++
	in.By = append(in.By, by.String())
	return in, r.saveInvite(ctx, in)
}

// befriend lets the peer read, and follows it through its host.
func (s *session) befriend(ctx context.Context, g wire.Grant, e *wire.Evidence, f node.Follow) error {
	if err := s.in.Evidence(ctx, s.n.Self().Space, e); err != nil {
		return err
	}
	who := sennit.Principal{Space: f.Space}
	if a := s.n.Authority(s.n.Self().Space); !a.May(who, g.May, g.Prefix, uint64(s.r.cfg.Now().UnixMilli())) {
		if _, err := s.n.Allow(ctx, s.n.Owner(), s.n.Self().Space, []wire.Grant{g}); err != nil {
			return err
		}
	}
	if err := s.in.Evidence(ctx, s.n.Self().Space, e); err != nil { // now that a rule names it
		return err
	}
	return s.n.EditFollow(ctx, f.Space, func(have *node.Follow) {
		if f.Mode = "live"; have.Mode != "" {
			f.Name, f.Mode = have.Name, have.Mode
		}
		if len(f.Prefixes) == 0 {
			f.Prefixes = have.Prefixes
		}
		host := f.Hosts[0]
		if f.Hosts = have.Hosts; len(host.Addrs) == 0 {
			for _, h := range have.Hosts {
				if h.Key == host.Key {
					host.Addrs = h.Addrs
				}
			}
		}
		f.Prefer(host)
		*have = f
	})
}

// joining is the use of an invitation, on the invitee's side.
type joining struct {
	link  *wire.Link
	name  string
	parts prefix.Set  // of the inviter's space that are followed; none: as before, or everything
	ended atomic.Bool // the session is over
	done  chan error  // has room for one
}

// Joined says whom an invitation led to.
type Joined struct {
	Space sennit.Space
	Open  sennit.Path
}

// Join uses an invitation: it reaches the inviter, lets it read this node's
// space in turn, and follows parts of it: none stands for those that it follows
// already, or everything. It returns when the inviter has agreed; the
// session goes on in run, which the caller starts.
func (r *Replicator) Join(ctx context.Context, text, name string, parts prefix.Set, run func(func(context.Context))) (*Joined, error) {
	link, err := wire.ParseLink(text)
	if err != nil {
		return nil, err
	}
	if link.Space == r.n.Self().Space {
		return nil, sennit.Hint(sennit.Errorf(sennit.BadInput, "this is your own invitation"), "send it to somebody else")
	}
	if until := time.Unix(int64(link.Until)*60, 0); !r.cfg.Now().Before(until) {
		return nil, sennit.Hint(sennit.Errorf(sennit.Expired, "the invitation expired on %s", until.UTC().Format("2 January 2006 at 15:04 UTC")),
			"ask for a new one; if that date seems to lie ahead, check this machine's clock")
	}
	var addrs []string
	for _, b := range link.Addrs {
		a, err := multiaddr.NewMultiaddrBytes(b)
		if err != nil {
			return nil, sennit.Errorf(sennit.BadInput, "the invitation holds an address that makes no sense")
		}
		addrs = append(addrs, a.String())
	}
	if r.cfg.Dial == nil {
		return nil, sennit.Errorf(sennit.Unsupported, "this node has no network")
	}
	jctx, cancel := context.WithTimeout(ctx, joinTimeout)
	defer cancel()
	for try := 1; ; try++ {
		j := &joining{link: link, name: name, parts: parts, done: make(chan error, 1)}
		joined, err := r.knock(jctx, j, addrs, run)
		if err == nil || !j.ended.Load() || try == maxKnocks {
			return joined, err
		}
		// Another session between the same hosts may have taken the place of
		// this one. Asking again uses nothing up.
		select {
		case <-time.After(time.Duration(try) * 100 * time.Millisecond):
		case <-jctx.Done():
			return nil, err
		}
	}
}

// maxKnocks is how often an invitation is shown to an inviter who hangs up.
const maxKnocks = 5

// knock shows an invitation once and waits for the answer.
func (r *Replicator) knock(ctx context.Context, j *joining, addrs []string, run func(func(context.Context))) (*Joined, error) {
	link := j.link
	conn := io.Closer(nopCloser{})
	if !r.knockAgain(j) {
		c, err := r.cfg.Dial(ctx, link.Host, addrs)
		if err != nil {
			return nil, sennit.Hint(sennit.Errorf(sennit.Unreachable, "the inviter can't be reached: %w", err),
				"ask them to start their node, then try again: an invitation is not used up by this")
		}
		conn = c
		run(func(ctx context.Context) { j.finish(r.serve(ctx, c, true, false, j)) })
	}
	select {
	case err := <-j.done:
		if err != nil {
			return nil, err
		}
		return &Joined{link.Space, link.Open}, nil
	case <-ctx.Done():
		return nil, errors.Join(sennit.Errorf(sennit.Timeout, "the inviter doesn't answer"), conn.Close())
	}
}

type nopCloser struct{}

func (nopCloser) Close() error { return nil }

// tell says how it went; only the first word counts.
func (j *joining) tell(err error) {
	select {
	case j.done <- err:
	default:
	}
}

// finish says that the session in which an invitation was used is over.
func (j *joining) finish(err error) {
	j.ended.Store(true)
	j.tell(sennit.Errorf(sennit.Unreachable, "the inviter went away: %w", err))
}

// knockAgain uses an invitation in the session that there is with the inviter.
// It reports whether there is one.
func (r *Replicator) knockAgain(j *joining) bool {
	r.mu.Lock()
	s := r.sessions[j.link.Host]
	r.mu.Unlock()
	if s == nil {
		return false
	}
	s.mu.Lock()
	free := s.hello != nil && s.join == nil && s.err == nil
	if free {
		s.join = j
	}
	s.mu.Unlock()
	if !free {
		return false
	}
	if err := s.knock(j); err != nil {
		j.finish(err)
	}
	return true
}

// joined takes the invitation that is being used, nil if none is.
func (s *session) joined() *joining {
	s.mu.Lock()
	defer s.mu.Unlock()
	j := s.join
	s.join = nil
	return j
}

// knock uses the invitation, once the inviter said hello.
func (s *session) knock(j *joining) error {
	key := keys.InvitationKey(j.link.Seed)
	e := s.n.Evidence()
	f := &wire.RedeemFrame{Evidence: wire.Evidence{Inception: e.Inception, Events: e.Events}}
	f.Redeem = wire.Redeem{Inviter: j.link.Space, Invitee: s.n.Self()}
	copy(f.Redeem.Invitation[:], key.Public().(ed25519.PublicKey))
	f.Sig = keys.Sign(key, keys.DomainRedeem, f.Redeem.Bytes())
	return errors.Join(s.send(f), s.send(&wire.Addrs{Addrs: s.r.cfg.Addrs()}))
}

// welcome is the inviter's yes.
func (s *session) welcome(ctx context.Context, f *wire.Welcome) error {
	j := s.joined()
	if j == nil {
		return sennit.Errorf(sennit.BadInput, "an answer to an invitation that nobody used")
	}
	err := s.agree(ctx, j, f)
	j.tell(err)
	return err
}

// agree does what the inviter's yes is about.
func (s *session) agree(ctx context.Context, j *joining, f *wire.Welcome) error {
	if f.Evidence.Inception.Space() != j.link.Space {
		return sennit.Errorf(sennit.BadInput, "somebody else answered the invitation")
	}
	if err := s.identify(&f.Evidence); err != nil {
		return err
	}
	grant := wire.Grant{May: sennit.Read, Who: wire.Who{Subject: wire.SubjectSpace, Key: j.link.Space}}
	host := node.Host{Key: hostText(s.conn.Host())}
	for _, b := range j.link.Addrs {
		if a, err := multiaddr.NewMultiaddrBytes(b); err == nil {
			host.Addrs = append(host.Addrs, a.String())
		}
	}
	follow := node.Follow{Space: j.link.Space, Name: j.name, Prefixes: j.parts, Hosts: []node.Host{host}}
	return s.befriend(ctx, grant, &f.Evidence, follow)
}

// problem is the peer's no.
func (s *session) problem(f *wire.Problem) error {
	err := sennit.Errorf(f.Code, "%s", f.Message)
	if f.Code == sennit.OverQuota {
		s.referred()
	}
	if j := s.joined(); j != nil {
		switch f.Code {
		case sennit.Expired, sennit.Denied:
			err = sennit.Hint(err, "ask for a new invitation")
		default:
			err = sennit.Errorf(sennit.Denied, "the inviter refused: %s", f.Message)
		}
		j.tell(err)
	}
	return err
}
