package keys

// What the tests outside need to put a file system of their own in place.
type (
	Disk = disk
	File = file
)

func CreateOn(d Disk, dir string, o Options) (*Identity, error) { return create(d, dir, o) }
func LoadOn(d Disk, dir string) (*Identity, error)              { return load(d, dir) }

func EncodeFile(name string, records ...[]byte) []byte   { return encodeFile(name, records...) }
func DecodeFile(name string, b []byte) ([][]byte, error) { return decodeFile(name, b) }
