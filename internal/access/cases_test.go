package access_test

import "testing"

func TestCases(t *testing.T) {
	for name, text := range map[string]string{
		"nothing is known": `
			me/1 put a @ g0 -> held
			may me/1 r . -> no
			sight me/1 . -> none
			readable me/1 ->
			cite me/1 ->
			relies me/1 put a -> denied
			proven me/1 -> no
		`,
		"the first commit carries what proves its own author": `
			g0 me/1 | incept; add me/1
			member g0 -> yes
			proven me/1 -> yes
			me/1 put a @ g0 -> valid
			me/1 deep . @ g0 -> valid
			me/1 9 a @ g0 -> valid
			me/1 0 a @ g0 -> void
			me/1 key a @ g0 -> void
			me/1 put .acl/x @ g0 -> void
			me/1 put a @ g0,g1 -> held
			me/1 put a @ g0,g0,g0,g0,g0 -> void
			me/2 put a @ g0 -> void
			bob/1 put a @ g0 -> void
			-/1 put a @ g0 -> void
			may me/1 rwdgm a -> yes
			may me/1 r .acl/x -> yes
			may me/1 w .acl/x -> no
			may me/1 g .acl/x -> yes
			may bob/1 r a -> no
			sight me/1 a -> all
			readable me/1 -> .
			readable bob/1 ->
			cite me/1 -> g0
			relies me/1 put a -> g0
			relies me/1 put .acl/x -> denied
			relies bob/1 put a -> denied
		`,
		"without the inception record the owner is nobody": `
			g0 me/1 | add me/1
			member g0 -> unproven
			me/1 put a @ g0 -> held
		`,
		"key events count from whichever commit carries them": `
			g0 me/1 | incept; add me/1
			g1 me/1 g0 | add me/2
			g2 me/3 | add me/3
			x me/4 nowhere | add me/4
			member g2 -> yes
			member x -> waiting
			me/2 put a @ g0 -> valid
			me/3 put a @ g2 -> valid
			me/4 put a @ g0 -> valid
			cite me/1 -> g1,g2
		`,
		"the owner's evidence needs no commit": `
			evidence me : add me/1; add me/2
			g0 me/2 | grant r . bob
			member g0 -> yes
			me/1 put a @ g0 -> valid
		`,
		"a device that was removed": `
			g0 me/1 | incept; add me/1; add me/2
			g1 me/2 g0 | grant w a bob
			g2 me/1 g1 | remove me/2; grant w b bob
			g3 me/2 g2 | grant w c bob
			evidence bob : add bob/1
			member g1 -> yes
			member g3 -> yes
			proven me/2 -> no
			me/2 put a @ g1 -> void
			bob/1 put a @ g1 -> void
			bob/1 put b @ g2 -> valid
			bob/1 put c @ g3 -> void
			rules . -> g1#0: g2#1:w g3#0:
		`,
		"a rule counts in its descendants only": `
			g0 me/1 | incept; add me/1
			g1 me/1 g0 | grant w a bob
			g2 me/1 g1 | grant r b bob
			h1 me/1 g0 | grant r c bob
			evidence bob : add bob/1
			bob/1 put a/x @ g0 -> void
			bob/1 put a/x @ g1 -> valid
			bob/1 put a/x @ g2 -> valid
			bob/1 put a/x @ h1 -> void
			bob/1 put a/x @ h1,g1 -> valid
			bob/1 put a/x @ h1,g1,nowhere -> held
			bob/2 put a/x @ g1 -> void
			cite bob/1 -> g2,h1
			relies bob/1 put a/x -> g2,h1
			relies bob/1 del a/x -> denied
		`,
		"names are whole components": `
			g0 me/1 | incept; add me/1; grant w a/b bob
			evidence bob : add bob/1
			bob/1 put a/b @ g0 -> valid
			bob/1 put a/b/c @ g0 -> valid
			bob/1 put a @ g0 -> void
			bob/1 put a/bc @ g0 -> void
			bob/1 put b/a/b @ g0 -> void
		`,
		"a space needs proof, a device is itself": `
			g0 me/1 | incept; add me/1
			g1 me/1 g0 | grant rw a bob; grant rw b eve/7; grant r c cat/1
			bob/1 put a @ g1 -> void
			may bob/1 r a -> no
			eve/7 put b @ g1 -> valid
			proven eve/7 -> no
			-/7 put b @ g1 -> void
			may eve/7 rw b -> yes
			cat/1 put c @ g1 -> void
			may cat/1 r c -> yes
		`,
		"a granted device can't pass for the owner": `
			g0 me/1 | incept; add me/1
			g1 me/1 g0 | grant rw a me/9; grant rw a any
			me/9 put a @ g1 -> void
			may me/9 r a -> no
			me/8 put a @ g1 -> void
		`,
		"any": `
			g0 me/1 | incept; add me/1
			g1 me/1 g0 | grant rwdgm a any
			g2 bob/1 g1 | grant r a/b cat
			evidence bob : add bob/1
			rules . -> g1#0:rwdm
			member g2 -> unentitled
			bob/1 put a @ g1 -> valid
			bob/1 deep a/b @ g1 -> valid
			bob/2 put a @ g1 -> void
			cat/1 put a @ g1 -> void
			-/1 put a @ g1 -> valid
			may cat/1 r a -> yes
			may cat/1 w a -> no
			may -/1 rw a -> yes
			may bob/1 rwdm a -> yes
			may bob/1 g a -> no
		`,
		"patterns": `
			g0 me/1 | incept; add me/1
			g1 me/1 g0 | grant rwd posts any where */likes/{self}
			g2 me/1 g1 | grant w {self} bob where {self}
			evidence bob : add bob/1
			bob/1 put posts/1/likes/@bob @ g1 -> valid
			bob/1 put posts/1/likes/@bob/deep/down @ g1 -> valid
			bob/1 put posts/1/likes/@cat @ g1 -> void
			bob/1 put posts/1/likes @ g1 -> void
			bob/1 put posts/1/2/likes/@bob @ g1 -> void
			bob/1 put posts/1/likes/{self} @ g1 -> void
			bob/1 deep posts/1/likes/@bob @ g1 -> valid
			bob/1 deep posts/1/likes @ g1 -> void
			bob/1 deep posts @ g1 -> void
			cat/1 put posts/1/likes/@cat @ g1 -> void
			-/1 put posts/1/likes/@bob @ g1 -> void
			-/1 put posts/1/likes/{self} @ g1 -> void
			may cat/1 r posts/1/likes/@cat -> no
			bob/1 put {self}/@bob @ g2 -> valid
			bob/1 put @bob/@bob @ g2 -> void
			bob/1 put {self}/{self} @ g2 -> void
		`,
		"self of a device needs proof of its space": `
			g0 me/1 | incept; add me/1; grant w inbox eve/1 where {self}; grant w inbox bob/1 where {self}
			evidence bob : add bob/1
			eve/1 put inbox/@eve @ g0 -> void
			bob/1 put inbox/@bob @ g0 -> valid
			bob/1 put inbox/@eve @ g0 -> void
		`,
		"deleting": `
			g0 me/1 | incept; add me/1; grant w a bob; grant d a/b bob
			evidence bob : add bob/1
			bob/1 del a @ g0 -> void
			bob/1 del a/b @ g0 -> valid
			bob/1 deep a/b @ g0 -> valid
			bob/1 deep a @ g0 -> void
			bob/1 put a/b @ g0 -> valid
			bob/1 77 a/b @ g0 -> valid
			bob/1 77 b @ g0 -> void
		`,
		"who was given the right to grant gives what they have": `
			g0 me/1 | incept; add me/1
			g1 me/1 g0 | grant rwg a bob; grant d a/b bob
			b1 bob/1 g1 | grant rwdm a/b cat; grant rwdm a/c cat; grant rw . cat; grant g a/b cat
			c1 cat/1 b1 | grant rw a/b/x dan; grant r a/c dan
			evidence bob : add bob/1
			evidence cat : add cat/1
			evidence dan : add dan/1
			rules . -> b1#2: g1#0:rwg b1#0:rwd b1#3:g g1#1:d c1#0:rw b1#1:rw c1#1:
			cat/1 put a/b @ b1 -> valid
			cat/1 del a/b @ b1 -> valid
			cat/1 put a/c @ b1 -> valid
			cat/1 del a/c @ b1 -> void
			cat/1 put a @ b1 -> void
			dan/1 put a/b/x @ c1 -> valid
			dan/1 put a/b @ c1 -> void
			may dan/1 r a/c -> no
		`,
		"the right to grant must be in the commit's own ancestry": `
			g0 me/1 | incept; add me/1
			g1 me/1 g0 | grant rwg a bob
			b0 bob/1 g0 | grant r a cat
			b1 bob/1 g1 | grant r a cat
			b2 bob/1 | grant r a cat
			b3 bob/1 g1 | grant rwg a/x bob; grant rw a/x/y bob
			b4 bob/1 b0,g1 | grant r a cat
			evidence bob : add bob/1
			member b0 -> unentitled
			member b1 -> yes
			member b2 -> unentitled
			member b3 -> yes
			member b4 -> waiting
		`,
		"a grant doesn't help its neighbours in the same commit": `
			g0 me/1 | incept; add me/1; grant g a bob
			b1 bob/1 g0 | grant gr a bob; grant r a cat
			evidence bob : add bob/1
			rules . -> b1#0:g b1#1: g0#2:g
		`,
		"covering a pattern": `
			g0 me/1 | incept; add me/1
			g1 me/1 g0 | grant rwg a bob where */x; grant rwg home bob where {self}; grant rwg b cat/1
			b1 bob/1 g1 | grant r a/1/x dan; grant r a dan where */x; grant r a dan where */x/{self}; grant r a any where */x/{self}
			b2 bob/1 g1 | grant r a dan; grant r a/1 dan; grant r a dan where */*; grant r a/1 dan where *
			b3 bob/1 g1 | grant r home/@bob dan; grant r home dan where {self}; grant r home bob where {self}; grant r home any where {self}
			evidence bob : add bob/1
			rules a -> b1#1:r b1#2:r b1#3:r b2#0: b2#2: g1#0:rwg b2#1: b2#3: b1#0:r
			rules home -> b3#1: b3#2:r b3#3: g1#1:rwg b3#0:r
		`,
		"the order of a rule's rivals doesn't matter": `
			g0 me/1 | incept; add me/1
			g1 me/1 g0 | grant g a bob
			g2 me/1 g0 | grant rw a bob
			b1 bob/1 g1 | grant rw a cat
			b2 bob/1 g1,g2 | grant rw a cat
			evidence bob : add bob/1
			rules a -> b1#0: b2#0:rw g1#0:g g2#0:rw
		`,
		"a commit in a space's name needs proof, a device's own doesn't": `
			g0 me/1 | incept; add me/1; grant rwg a -/1; grant rwg a eve/1
			d1 -/1 g0 | grant r a bob
			e1 eve/1 g0 | grant r a bob
			f1 fay/1 g0 | grant r a bob
			member d1 -> yes
			member e1 -> unproven
			member f1 -> unentitled
		`,
		"a delegate's device that was removed": `
			g0 me/1 | incept; add me/1; grant rwg a bob
			b1 bob/1 g0 | grant rwg a/x cat
			c1 cat/1 b1 | grant rw a/x dan
			b2 bob/2 c1 | grant w a/y dan
			evidence bob : add bob/1; add bob/2; remove bob/1
			evidence cat : add cat/1
			evidence dan : add dan/1
			member b1 -> yes
			member c1 -> yes
			rules . -> g0#2:rwg b1#0: c1#0: b2#0:w
			dan/1 put a/x @ c1 -> void
			dan/1 put a/y @ b2 -> valid
			cat/1 put a/x @ c1 -> void
		`,
		"what is not interpreted is taken all the same": `
			g0 me/1 | incept; add me/1
			g1 me/1 g0 | revoke group:friends a; member; unknown; grant rw a group:friends; add bob/1
			member g1 -> yes
			bob/1 put a @ g1 -> void
			rules . -> g1#3:
			me/1 put a @ g1 -> valid
		`,
		"until ends reading and admission, not validity": `
			g0 me/1 | incept; add me/1; grant rw a bob until 100
			evidence bob : add bob/1
			may bob/1 rw a 99 -> yes
			may bob/1 r a 100 -> no
			may bob/1 w a 100 -> no
			bob/1 put a @ g0 -> valid
		`,
		"rights add up": `
			g0 me/1 | incept; add me/1; grant r . bob; grant w a bob; grant m a/b any
			evidence bob : add bob/1
			may bob/1 rwm a/b -> yes
			may bob/1 rw a -> yes
			may bob/1 rwm a -> no
			may bob/1 - a -> no
		`,
		"a seal ends reading from above": `
			g0 me/1 | incept; add me/1; grant rwg . bob; grant r a/s/x bob; grant r . cat
			g1 me/1 g0 | grant r a/s dan seal
			b1 bob/1 g0 | grant - a/t cat seal
			c1 cat/1 g1 | grant - . cat seal
			evidence bob : add bob/1
			evidence cat : add cat/1
			evidence dan : add dan/1
			member c1 -> unentitled
			rules a/s -> g0#2:rwg g0#4:r g1#0:r+seal g0#3:r
			may bob/1 r a -> yes
			may bob/1 r a/s -> no
			may bob/1 g a/s -> no
			may bob/1 r a/s/x -> yes
			may dan/1 r a/s -> yes
			may bob/1 r a/t -> no
			bob/1 put a/s @ g1 -> valid
			sight bob/1 . -> some
			sight bob/1 b -> all
			sight bob/1 a/s -> some
			sight bob/1 a/s/y -> none
			sight bob/1 a/s/x -> all
			sight dan/1 a/s -> all
			sight cat/1 a/s -> none
			readable bob/1 -> a/s/x
			readable dan/1 -> a/s
			readable cat/1 ->
			may me/1 r a/s -> yes
		`,
		"a seal needs the right to grant over all of its prefix": `
			g0 me/1 | incept; add me/1; grant rg a bob where x; grant r . cat; grant w a bob
			b1 bob/1 g0 | grant r a bob where x seal
			b2 bob/1 g0 | grant r a/x bob seal
			evidence bob : add bob/1
			evidence cat : add cat/1
			rules a -> g0#3:r b1#0:r g0#2:rg g0#4:w b2#0:r+seal
			may cat/1 r a -> yes
			may cat/1 r a/x -> no
		`,
		"what can be read": `
			g0 me/1 | incept; add me/1; grant r a any; grant r a/b bob; grant r a-b bob; grant r c any where {self}; grant r d any where */x; grant w e bob; grant r f bob where g/h
			evidence bob : add bob/1
			readable bob/1 -> a a-b c/@bob f/g/h
			readable cat/1 -> a
			readable -/1 -> a
			sight bob/1 . -> some
			sight bob/1 a -> all
			sight bob/1 a/b/c -> all
			sight bob/1 c -> some
			sight bob/1 c/@bob -> all
			sight bob/1 c/@cat -> none
			sight cat/1 c -> none
			sight bob/1 d -> some
			sight bob/1 d/1 -> some
			sight bob/1 d/1/x -> all
			sight bob/1 d/1/y -> none
			sight bob/1 e -> none
			may bob/1 r c/@bob -> yes
			may bob/1 r d/1 -> no
		`,
		"a cut accepts what came before it and nothing else": `
			g0 me/1 | incept; add me/1; grant rwd . bob
			g1 me/1 g0 | revoke bob . bob/1:3:h3
			evidence bob : add bob/1; add bob/2
			bob/1 put a @ g0 at 2 h2 -> valid
			bob/1 put a @ g0 at 3 h3 -> valid
			bob/1 put a @ g0 at 4 h4 -> void
			bob/1 put a @ g0 at 3 k3 -> void
			bob/1 put a @ g0 at 2 k2 -> void
			bob/1 put a @ g0 at 2 ?2 -> held
			bob/1 put a @ g0 at 4 ?4 -> void
			bob/1 put a @ g1 at 2 h2 -> void
			bob/2 put a @ g0 at 1 h1 -> void
			me/1 put a @ g0 -> valid
			may bob/1 r a -> no
			may bob/1 w a -> no
			may me/1 rw a -> yes
			sight bob/1 . -> none
			readable bob/1 ->
			relies bob/1 put a -> denied
			proven bob/1 -> yes
		`,
		"a revocation ends what is under its prefix": `
			g0 me/1 | incept; add me/1; grant rwd . bob
			g1 me/1 g0 | revoke bob a/b bob/1:1:h1
			evidence bob : add bob/1
			bob/1 put a/b @ g0 at 2 h2 -> void
			bob/1 put a/b/c @ g0 at 2 h2 -> void
			bob/1 put a @ g1 at 2 h2 -> valid
			bob/1 put a/bc @ g1 at 2 h2 -> valid
			bob/1 del a @ g1 at 2 h2 -> valid
			bob/1 deep a @ g1 at 2 h2 -> void
			bob/1 deep a @ g0 at 1 h1 -> valid
			may bob/1 rw a -> yes
			may bob/1 r a/b -> no
			sight bob/1 a -> some
			sight bob/1 a/b -> none
			sight bob/1 c -> all
			readable bob/1 ->
			relies bob/1 deep a -> denied
			relies bob/1 del a -> g1
		`,
		"a grant that came after a revocation stands": `
			g0 me/1 | incept; add me/1; grant rw . bob
			g1 me/1 g0 | revoke bob .
			g2 me/1 g1 | grant rw a bob
			evidence bob : add bob/1
			bob/1 put a @ g0 at 1 h1 -> void
			bob/1 put a @ g1 at 1 h1 -> void
			bob/1 put a @ g2 at 1 h1 -> valid
			bob/1 put b @ g2 at 1 h1 -> void
			may bob/1 rw a -> yes
			may bob/1 rw b -> no
		`,
		"a rule is edited in one commit": `
			g0 me/1 | incept; add me/1; grant rw a bob
			g1 me/1 g0 | revoke g0#2 a bob/1:2:h2; grant r a bob
			evidence bob : add bob/1
			bob/1 put a @ g0 at 2 h2 -> valid
			bob/1 put a @ g0 at 3 h3 -> void
			may bob/1 r a -> yes
			may bob/1 w a -> no
			rules . -> g0#2:rw+ended g1#1:r
		`,
		"to revoke one grant leaves the others": `
			g0 me/1 | incept; add me/1; grant w a bob; grant w a any; grant w a -/1
			g1 me/1 g0 | revoke g0#3 a
			evidence bob : add bob/1
			evidence cat : add cat/1
			bob/1 put a @ g0 -> valid
			cat/1 put a @ g0 -> void
			-/1 put a @ g0 -> valid
			-/2 put a @ g0 -> void
			revoked bob/1 -> yes
			revoked me/1 -> no
		`,
		"everybody means those whom only a rule for everybody lets in": `
			g0 me/1 | incept; add me/1; grant w a bob; grant w a any
			g1 me/1 g0 | revoke any .
			evidence bob : add bob/1
			evidence cat : add cat/1
			bob/1 put a @ g0 -> valid
			cat/1 put a @ g0 -> void
		`,
		"who is removed is so under any rule": `
			g0 me/1 | incept; add me/1; grant w a any; grant w a bob/1
			g1 me/1 g0 | revoke bob/1 .
			evidence bob : add bob/1; add bob/2
			bob/1 put a @ g0 -> void
			bob/2 put a @ g0 -> valid
		`,
		"equals can't remove each other, seniors can": `
			g0 me/1 | incept; add me/1; grant rwg . bob; grant rwg . cat
			b1 bob/1 g0 | revoke cat .
			c1 cat/1 g0 | grant rw a dan; revoke bob .
			b2 bob/1 c1 | revoke dan . dan/1:1:h1
			evidence bob : add bob/1
			evidence cat : add cat/1
			evidence dan : add dan/1
			bob/1 put a @ b2 -> valid
			cat/1 put a @ b2 -> valid
			dan/1 put a @ c1 at 1 h1 -> valid
			dan/1 put a @ c1 at 2 h2 -> void
		`,
		"the right to revoke is the right to grant there": `
			g0 me/1 | incept; add me/1; grant rwg a bob; grant rw . cat
			b1 bob/1 g0 | grant rw a/x cat
			b2 bob/1 b1 | revoke cat .
			b3 bob/1 b2 | revoke cat a/x
			evidence bob : add bob/1
			evidence cat : add cat/1
			cat/1 put b @ b1 -> valid
			cat/1 put a/x @ b1 -> valid
			rules a/x -> g0#2:rwg b1#0:rw+ended g0#3:rw
		`,
		"who revokes somebody's right to grant takes what they gave since": `
			g0 me/1 | incept; add me/1; grant rwg . bob
			b1 bob/1 g0 | grant rw a cat
			b2 bob/1 b1 | grant rw b cat
			b3 bob/1 b2 | revoke dan .
			g1 me/1 b1 | revoke bob . !bob/1:1:b1
			evidence bob : add bob/1
			evidence cat : add cat/1
			rules . -> g0#2:rwg+ended b1#0:rw b2#0:
			cat/1 put a @ b1 -> valid
			cat/1 put b @ b2 -> void
			may cat/1 r a -> yes
			may cat/1 r b -> no
		`,
		"an authority commit below a cut that its author's later ones don't descend from": `
			g0 me/1 | incept; add me/1; grant rwg . bob
			b1 bob/1 g0 | grant rw a cat
			x1 bob/1 g0 | grant rw b cat
			g1 me/1 g0 | revoke bob . !bob/1:2:x1
			evidence bob : add bob/1
			evidence cat : add cat/1
			cat/1 put a @ b1 -> void
			cat/1 put b @ x1 -> valid
		`,
		"a cut is raised for what honestly came late": `
			g0 me/1 | incept; add me/1; grant rw . bob; grant rwg . cat
			g1 me/1 g0 | revoke bob . bob/1:1:h1
			g2 me/1 g1 | revoke bob . bob/1:3:h3
			c1 cat/1 g2 | revoke bob . bob/1:9:h9
			evidence bob : add bob/1
			evidence cat : add cat/1
			bob/1 put a @ g0 at 3 h3 -> valid
			bob/1 put a @ g1 at 3 h3 -> valid
			bob/1 put a @ g0 at 4 h4 -> void
			bob/1 put a @ g2 at 3 h3 -> void
		`,
		"revocations that cross both count": `
			g0 me/1 | incept; add me/1; add me/2; add me/3
			g1 me/1 g0 | revoke me/2 . me/2:1:h1; grant rw a bob
			g2 me/2 g0 | revoke me/1 . me/1:2:h2; grant rw b bob
			evidence bob : add bob/1
			me/1 put a @ g0 at 2 h2 -> valid
			me/1 put a @ g0 at 3 h3 -> void
			me/2 put a @ g0 at 1 h1 -> valid
			me/2 put a @ g0 at 2 h2 -> void
			me/3 put a @ g0 at 5 h5 -> valid
			bob/1 put a @ g1 -> void
			bob/1 put b @ g2 -> void
		`,
		"somebody cuts their own log and goes on": `
			g0 me/1 | incept; add me/1; grant rw c bob
			g1 me/1 g0 | revoke me/1 . me/1:5:h5 !me/1:1:g0; grant rwdg . me/1
			evidence bob : add bob/1
			me/1 put a @ g0 at 5 h5 -> valid
			me/1 put a @ g0 at 6 h6 -> void
			me/1 put a @ g1 at 6 h6 -> valid
			may me/1 rwdg a -> yes
			may me/1 m a -> no
			relies me/1 put a -> g1
			bob/1 put c @ g0 -> valid
		`,
		"who cuts their own log keeps the right to revoke": `
			g0 me/1 | incept; add me/1; grant rwg a bob; grant rwg . cat
			c1 cat/1 g0 | grant rwg . bob
			b1 bob/1 c1 | grant rw b dan
			b2 bob/1 b1 | revoke bob a !bob/1:1:b1
			b3 bob/1 b2 | revoke dan .; grant rw a/b dan
			evidence bob : add bob/1
			evidence cat : add cat/1
			evidence dan : add dan/1
			rules . -> g0#2:rwg+ended g0#3:rwg c1#0:rwg b1#0:rw+ended b3#1:
			dan/1 put b @ b1 at 2 h2 -> void
		`,
		"a revoked seal opens again": `
			g0 me/1 | incept; add me/1; grant r . bob
			g1 me/1 g0 | grant - a cat seal
			g2 me/1 g1 | revoke g1#0 a
			evidence bob : add bob/1
			may bob/1 r a -> yes
			sight bob/1 . -> all
		`,
	} {
		t.Run(name, func(t *testing.T) { parse(t, text).run() })
	}
}
