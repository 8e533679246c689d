/* The fast path's interface: what a cube's C may call, under TC and under XDP alike.
 *
 * A microcube implements
 *     static __always_inline int handle_rx(struct CTXTYPE *ctx, struct pkt_metadata *md)
 * and returns RX_OK, RX_DROP or what a helper returned. The compiler defines PCN_XDP, PCN_EGRESS and PCN_TRANSPARENT
 * as 0 or 1. Tables named pcn_* belong to the framework: the reconciler makes and fills them.
 */
#include <uapi/linux/bpf.h>
#include <uapi/linux/if_ether.h>
#include <uapi/linux/in.h>
#include <uapi/linux/ip.h>
#include <uapi/linux/ipv6.h>
#include <uapi/linux/if_vlan.h>

/* Every port's number is below it. The compiler says 512 for a service of up to 256 ports, whose numbers leave out the bit of
 * PCN_AFTER_EGRESS, so that the rows of a port are the same ones in every cube. */
#ifndef PCN_MAX_PORTS
#define PCN_MAX_PORTS 128
#endif
#define PCN_AFTER_EGRESS 128

#if PCN_XDP
#define CTXTYPE xdp_md
#define PCN_PASS 2  /* XDP_PASS */
#define PCN_SHOT 1  /* XDP_DROP */
#else
#define CTXTYPE __sk_buff
#define PCN_PASS (-1) /* TCX_NEXT, TC_ACT_UNSPEC: whoever else is on the hook goes on */
#define PCN_SHOT 2    /* TC_ACT_SHOT */
#endif

/* Verdicts of handle_rx that are no kernel verdict. */
#define RX_OK 0x10000   /* standard cube: to the host's stack; transparent cube: to whatever is next */
#define RX_DROP 0x10001 /* counted under md->reason */
#define PCN_GO 0x20000   /* plus a row of pcn_hops: to the program there, by a tail call. This and the next are the linker's */
#define PCN_NEXT 0x2ffff /* to the cube that was put behind this one */

/* Why a packet was dropped: index into pcn_drops. Services count their own reasons from PCN_DROP_SERVICE. */
enum pcn_drop {
  PCN_DROP_POLICY,     /* the cube decided so */
  PCN_DROP_NO_PEER,    /* the port leads nowhere */
  PCN_DROP_NOT_READY,  /* a tail call found nothing */
  PCN_DROP_NO_SLOWPATH,/* nobody listens to the slow path */
  PCN_DROP_MALFORMED,  /* headers are cut short */
  PCN_DROP_SERVICE = 8,
  PCN_DROP_REASONS = 16
};

struct pkt_metadata {
  u32 in_port;    /* index of the port of arrival; transparent cube: 2 * place, and 1 more if it comes from inside */
  u32 packet_len; /* bytes, Ethernet header included */
  u32 reason;     /* of a drop, or for the slow path */
  u32 md[3];      /* for the slow path */
};

/* Of a transparent cube that may be at several places: the index of the one that the packet passes. */
static __always_inline u32 pcn_place(const struct pkt_metadata *md) { return md->in_port >> 1; }

/* ---- Load-time constants: u32 words of a frozen map, so the verifier knows them and removes dead branches. ---- */

#define pcn_const_ptr(offset)                                                       \
  ({                                                                                \
    const void *_p;                                                                 \
    asm("%0 = %1 ll" : "=r"(_p) : "i"(0x70636e6300000000ULL | (unsigned)(offset))); \
    _p;                                                                             \
  })
#define PCN_CONST(name) (*(volatile const u32 *)pcn_const_ptr(PCN_OFFSET_##name))

/* ---- What the linker (reconciler/link) knows. It puts constants in the place of these loads: the row by which the next cube follows
 * directly, and the port of arrival in a program of several cubes; so the verifier decides every branch that asks for them. In a
 * program that stands alone the port is in its slot. A microcube has the other 488 bytes of the stack. ---- */

#define pcn_slot(offset)                                        \
  ({                                                            \
    u64 _v;                                                     \
    asm("%0 = *(u32 *)(r10 - " #offset ")" : "=r"(_v));         \
    _v;                                                         \
  })
#define PCN_IN_PORT ((u32)pcn_slot(504))
#define PCN_LINKED_ROW pcn_slot(496) /* no row has this number if no cube follows */

#include "framework/hops.h"
#include "framework/packet.h"
#include "framework/checksum.h"
#include "framework/slowpath.h"
#include "framework/flood.h"
#include "framework/log.h"

/* Nanoseconds since 1970. The kernel offers programs the atomic time, which may be ahead by the leap seconds. */
static __always_inline u64 pcn_get_time_epoch(void) {
  return bpf_ktime_get_tai_ns() - PCN_CONST(LEAP_SECONDS) * 1000000000ULL;
}

/* ---- Microcubes: go on in another program of this cube. Rows 0-31 are ingress programs, 32-63 egress ones. ---- */

#define PCN_MAX_PROGRAMS 32
BPF_TABLE("prog", u32, u32, pcn_calls, 2 * PCN_MAX_PROGRAMS);
BPF_TABLE("prog", u32, u32, pcn_entry, 2 * PCN_MAX_PROGRAMS + 1); /* the cube's way in; used by inject.c alone */
/* They return only if there is no such program. */
static __always_inline void call_ingress_program(struct CTXTYPE *ctx, u32 index) { pcn_calls.call(ctx, index); }
static __always_inline void call_egress_program(struct CTXTYPE *ctx, u32 index) { pcn_calls.call(ctx, PCN_MAX_PROGRAMS + index); }

/* ---- The program around a microcube. ---- */

static __always_inline int handle_rx(struct CTXTYPE *ctx, struct pkt_metadata *md);

static __always_inline int pcn_accept(struct CTXTYPE *ctx, struct pkt_metadata *md) {
#if PCN_TRANSPARENT
  return pcn_leave(ctx, md->in_port ^ 1);
#elif PCN_EGRESS
  return pcn_leave(ctx, PCN_AFTER_EGRESS + md->in_port);
#else
  return PCN_PASS;
#endif
}

int pcn_main(struct CTXTYPE *ctx) {
#if PCN_XDP
  u32 length = ctx->data_end - ctx->data;
#else
  u32 length = ctx->len;
#endif
  struct pkt_metadata md = {.in_port = PCN_IN_PORT, .packet_len = length};
  int verdict = handle_rx(ctx, &md);
  if (verdict & PCN_GO) /* most packets; TC's PCN_PASS has this bit too */
    return verdict;
  if (verdict == RX_OK)
    return pcn_accept(ctx, &md);
  if (verdict == RX_DROP)
    return pcn_pkt_drop(ctx, &md);
  return verdict;
}
