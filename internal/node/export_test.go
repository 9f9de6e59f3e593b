package node

import "github.com/sennit/sennit"

// Content opens a stream of the node's own space as one that is too long to be
// given at once.
func (n *Node) Content(p sennit.Path) (sennit.Content, error) {
	v, err := n.st.View()
	if err != nil {
		return nil, err
	}
	sp := n.space(n.self.Space)
	s, _, err := v.Stream(sp.num, p)
	if err != nil {
		return nil, err
	}
	c, err := n.through(v).content(sp, p, s.Bytes)
	return &held{c, v}, err
}
