package devmapper

// Templates tells how many formatted templates there are.
func (d *Driver) Templates() int { return len(d.templates.all()) }
