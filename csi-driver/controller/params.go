package controller

import (
	"slices"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// What Kubernetes' sidecars add to every request when they run with
// --extra-create-metadata. They describe the claim and change nothing.
var (
	volumeMetadata = []string{
		"csi.storage.k8s.io/pv/name",
		"csi.storage.k8s.io/pvc/name",
		"csi.storage.k8s.io/pvc/namespace",
	}
	snapshotMetadata = []string{
		"csi.storage.k8s.io/volumesnapshot/name",
		"csi.storage.k8s.io/volumesnapshot/namespace",
		"csi.storage.k8s.io/volumesnapshotcontent/name",
	}
)

// checkParameters refuses every key but those of metadata: the file system and
// its mount options are part of the capability, and there is nothing else to
// choose.
func checkParameters(parameters map[string]string, metadata []string) error {
	for _, key := range keys(parameters) {
		if !slices.Contains(metadata, key) {
			return status.Errorf(codes.InvalidArgument, "parameters[%q]: unknown; this driver takes no parameters, remove it from the class", key)
		}
	}
	return nil
}
