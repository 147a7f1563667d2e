package image

// Limits bound what a hostile image can cost. A zero field means the default
// of that field, never "no limit".
type Limits struct {
	// UnpackedBytes bounds what unpacking one image may write, all its layers
	// together, and the uncompressed stream of each layer.
	UnpackedBytes int64
	// Entries bounds the entries of one layer.
	Entries int64
	// ArchiveFiles bounds the entries of an image archive, each of which
	// costs durable writes.
	ArchiveFiles int64
	// Layers bounds the layers of an image.
	Layers int
	// DocumentBytes bounds an index, a manifest or a configuration.
	DocumentBytes int64
	// BlobBytes bounds one compressed blob, and an archive as a whole.
	BlobBytes int64
	// NameBytes bounds the path and the link target of an entry.
	NameBytes int
	// XattrBytes bounds the extended attributes of one entry, names and
	// values together.
	XattrBytes int
}

// DefaultLimits are far above any image in earnest and far below what hurts.
func DefaultLimits() Limits {
	return Limits{
		UnpackedBytes: 64 << 30,
		Entries:       2_000_000,
		ArchiveFiles:  10_000,
		Layers:        500, // what the kernel's overlay takes; the 501st is EINVAL
		DocumentBytes: 8 << 20,
		BlobBytes:     64 << 30,
		NameBytes:     4096,    // PATH_MAX
		XattrBytes:    1 << 20, // a value alone is at most 64 KiB (XATTR_SIZE_MAX)
	}
}

// filled replaces zero fields by their defaults.
func (l Limits) filled() Limits {
	d := DefaultLimits()
	if l.UnpackedBytes == 0 {
		l.UnpackedBytes = d.UnpackedBytes
	}
	if l.Entries == 0 {
		l.Entries = d.Entries
	}
	if l.ArchiveFiles == 0 {
		l.ArchiveFiles = d.ArchiveFiles
	}
	if l.Layers == 0 {
		l.Layers = d.Layers
	}
	if l.DocumentBytes == 0 {
		l.DocumentBytes = d.DocumentBytes
	}
	if l.BlobBytes == 0 {
		l.BlobBytes = d.BlobBytes
	}
	if l.NameBytes == 0 {
		l.NameBytes = d.NameBytes
	}
	if l.XattrBytes == 0 {
		l.XattrBytes = d.XattrBytes
	}
	return l
}
