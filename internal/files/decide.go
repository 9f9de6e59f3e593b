package files

// action is what a name needs so that both sides are the same.
type action uint8

const (
	settled     action = iota // they are the same
	toTree                    // the value becomes what the file is
	toDisk                    // the file becomes what the value is
	modeToDisk                // of what the value is, the file takes whether it is a program
	removeThere               // the value goes, as the file went
	removeHere                // the file goes, as the value went
	conflict                  // both changed, and not to the same
)

// decide tells what to do about a name of which base is what both sides had
// when they last agreed, here what the directory has, and there what the tree
// has; nil is nothing. A change wins over a removal. What both changed is a
// conflict, but whether a file is a program and what it holds are apart, so one
// side can change the one and the other the other.
func decide(base, here, there *content) action {
	switch {
	case equal(here, there):
		return settled
	case base != nil && equal(here, base):
		if there == nil {
			return removeHere
		}
		return toDisk
	case base != nil && equal(there, base):
		if here == nil {
			return removeThere
		}
		return toTree
	case here == nil:
		return toDisk
	case there == nil:
		return toTree
	case here.hash == there.hash:
		return modeToDisk // without a base nobody knows who changed it
	case base == nil:
		return conflict
	case there.hash == base.hash:
		return modeToDisk // then only the bytes here are changed
	case here.hash == base.hash:
		// The mode is changed here, or it would be as in base, and the bytes
		// there. The bytes come here; that the mode is lost hurts less than a
		// conflict.
		return toDisk
	}
	return conflict
}

func equal(a, b *content) bool {
	return a == nil && b == nil || a != nil && b != nil && *a == *b
}
