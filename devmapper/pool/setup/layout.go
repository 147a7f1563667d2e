package setup

import (
	"fmt"
	"strings"

	"github.com/varve-project/varve/devmapper/pool"
)

// layout is how a volume group's room is divided.
type layout struct {
	Sizes
	// bytes, multiples of the group's extent
	data, metadata uint64
}

// layout divides total bytes of g.
func (s *site) layout(g *Group, total uint64) (layout, error) {
	catalog := roundUp(pool.CatalogBytes, g.Extent)
	if total < catalog+minData {
		return layout{}, s.tooSmall(g, total, catalog+2*roundUp(defaultMetadata, g.Extent)+minData)
	}
	room := total - catalog
	if s.Size != 0 {
		room = min(room, uint64(s.Size))
	}
	sizes, err := Choose(room, uint64(s.Chunk), uint64(s.Metadata))
	if err != nil {
		return layout{}, err
	}
	l := layout{Sizes: sizes, metadata: roundUp(sizes.Metadata, g.Extent)}
	taken := catalog + l.metadata + spare(g, l.metadata)
	if s.Size != 0 {
		l.data = roundUp(uint64(s.Size), g.Extent)
	} else if total > taken {
		l.data = roundDown((total-taken)/100*(100-reservePercent), g.Extent)
	}
	if l.data < minData || taken+l.data > total {
		return layout{}, s.tooSmall(g, total, taken+max(l.data, minData))
	}
	l.because("data %s, spare metadata %s; %s of the group stay free, so that the guardian can extend at once", Bytes(l.data), Bytes(l.metadata), Bytes(total-taken-l.data))
	if s.SkipZeroing {
		l.because("blocks are not zeroed before their first use (--skip-block-zeroing): whoever gets a whole block device, as a VM does, can read what deleted devices left")
	} else {
		l.because("blocks are zeroed before their first use: a VM that gets a snapshot as its disk must not read what deleted ones left; a write of a whole chunk skips it. --skip-block-zeroing is safe only where nobody but file systems reads the devices")
	}
	l.because("discards of deleted devices go down to the disk, and an LVM volume's fill is true after them")
	return l, nil
}

// spare is what LVM adds for its spare metadata volume, one for all pools of a
// group, as large as the largest.
func spare(g *Group, metadata uint64) uint64 {
	for _, v := range g.Volumes {
		if strings.HasSuffix(v.Name, "_pmspare") {
			return metadata - min(metadata, v.Bytes)
		}
	}
	return metadata
}

func (s *site) tooSmall(g *Group, has, needs uint64) error {
	what := "the devices are"
	if s.way == inGroup {
		what = "the free space of volume group " + g.Name + " is"
	}
	return fmt.Errorf("%s too small: %s usable, and catalog, metadata, its spare and data take %s: add a device or ask for less (--size)", what, Bytes(has), Bytes(needs))
}
