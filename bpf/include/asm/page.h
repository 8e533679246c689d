/* BPF_RINGBUF_OUTPUT counts in pages. The compiler passes this machine's PAGE_SIZE: arm64 has 16 and 64 KiB ones. */
#ifndef PAGE_SIZE
#define PAGE_SIZE 4096
#endif
