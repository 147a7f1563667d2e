package vm

// SetKVMDevice replaces /dev/kvm and returns what it was.
func SetKVMDevice(path string) (old string) {
	old, kvmDevice = kvmDevice, path
	return old
}
