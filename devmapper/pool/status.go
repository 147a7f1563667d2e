package pool

import (
	"context"
	"time"

	"github.com/varve-project/varve/devmapper/dm"
)

// Status implements Devices: two ioctls, neither of which makes the pool
// commit.
func (p *Pool) Status(ctx context.Context) (Status, error) {
	return look(ctx, p, "status of "+p.where(), func() (Status, error) {
		_, r, err := p.report(true)
		if err != nil {
			return Status{}, p.explain(err)
		}
		thins, err := p.countActive()
		if err != nil {
			return Status{}, err
		}
		s := p.config.status(r, p.blockBytes)
		s.UUID, s.Device, s.Thins = p.UUID(), dm.Path(p.device), thins
		s.Data.Room = p.room.Load()
		s.Metadata.Room = s.Data.Room
		return s, nil
	})
}

// status puts a report into bytes, beside the configured floors.
func (c Config) status(r Report, blockBytes uint64) Status {
	s := Status{
		TransactionID: r.TransactionID,
		BlockBytes:    blockBytes,
		Data:          fill(r.DataUsed, r.DataTotal, blockBytes, c.MinFreeData),
		Metadata:      fill(r.MetadataUsed, r.MetadataTotal, MetadataBlock, c.MinFreeMetadata),
		Mode:          r.Mode,
		OutOfSpace:    outOfSpaceQueue,
		NeedsCheck:    r.NeedsCheck,
	}
	if r.ErrorIfFull {
		s.OutOfSpace = outOfSpaceError
	} else {
		s.QueueFor = time.Duration(c.QueueFor)
	}
	return s
}

func fill(used, total, block uint64, floor int) Fill {
	return Fill{Used: used * block, Total: total * block, Floor: total * uint64(floor) / 100 * block}
}

// countActive counts the pool's thin devices that are active.
func (p *Pool) countActive() (int, error) {
	all, err := p.ctl.List()
	if err != nil {
		return 0, err
	}
	n := 0
	for _, e := range all {
		if _, id, ours := p.names.parse(e.UUID); ours && id != 0 {
			n++
		}
	}
	return n, nil
}
