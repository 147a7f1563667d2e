// Package recorder lies beneath devmapper/dm in tests: it writes down every
// ioctl with its exact bytes in and out as they pass to a real kernel, and
// plays such a record back where there is no device-mapper and no root. A
// record also counts: a test asserts how many ioctls a call costs.
//
// # The text of a record
//
// One paragraph for each ioctl: a line with its name and the length of its
// buffer, then the bytes that went in (>) and those that came out (<), 16 to a
// line behind their offset, lines of zeros left out; of a failed one its errno
// instead of the bytes out.
//
//	DEV_STATUS 312
//	> 000  04 00 00 00 00 00 00 00 00 00 00 00 38 01 00 00  |............8...|
//	> 030  61 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00  |a...............|
//	errno 6 no such device or address
//
// A record has the byte order of the machine that it was made on.
package recorder
