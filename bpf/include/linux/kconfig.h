/* What BCC includes before anything else (-include ./include/linux/kconfig.h).
 *
 * BCC expects the header tree of a kernel build, which most machines lack. This directory and the UAPI headers of the
 * distribution (linux-libc-dev, kernel-headers) together are enough of one: nothing here depends on an architecture.
 */
#ifndef PCN_LINUX_KCONFIG_H
#define PCN_LINUX_KCONFIG_H

#define CONFIG_BPF_SYSCALL 1

/* BCC brings a <linux/bpf.h> of its own, under another guard: the installed one would define everything twice. */
#define __LINUX_BPF_H__

/* Swap bytes by the compiler's builtins: an architecture's own <asm/swab.h> is inline assembly that BPF cannot run. */
#define __HAVE_BUILTIN_BSWAP16__
#define __HAVE_BUILTIN_BSWAP32__
#define __HAVE_BUILTIN_BSWAP64__

#include <linux/types.h>
#include <asm/byteorder.h>

#define cpu_to_be16(x) __cpu_to_be16(x)
#define cpu_to_be32(x) __cpu_to_be32(x)
#define cpu_to_be64(x) __cpu_to_be64(x)
#define be16_to_cpu(x) __be16_to_cpu(x)
#define be32_to_cpu(x) __be32_to_cpu(x)
#define be64_to_cpu(x) __be64_to_cpu(x)
#define htons(x) __cpu_to_be16(x)
#define htonl(x) __cpu_to_be32(x)
#define ntohs(x) __be16_to_cpu(x)
#define ntohl(x) __be32_to_cpu(x)

#define offsetof(type, member) __builtin_offsetof(type, member)
#define likely(x) __builtin_expect(!!(x), 1)
#define unlikely(x) __builtin_expect(!!(x), 0)

#endif
