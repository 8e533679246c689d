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

#define PCN_MAX_PORTS 128

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
  u32 in_port;    /* index of the port of arrival; transparent cube: 0 from the wire, 1 from inside */
  u32 packet_len; /* bytes, Ethernet header included */
  u32 reason;     /* of a drop, or for the slow path */
  u32 md[3];      /* for the slow path */
};

/* ---- Load-time constants: u32 words of a frozen map, so the verifier knows them and removes dead branches. ---- */

#define pcn_const_ptr(offset)                                                       \
  ({                                                                                \
    const void *_p;                                                                 \
    asm("%0 = %1 ll" : "=r"(_p) : "i"(0x70636e6300000000ULL | (unsigned)(offset))); \
    _p;                                                                             \
  })
#define PCN_CONST(name) (*(volatile const u32 *)pcn_const_ptr(PCN_OFFSET_##name))

/* ---- Where packets go next. Row i: out of port i. Row 128 + i: after the egress program of port i. ---- */

enum pcn_hop_kind { PCN_HOP_NONE, PCN_HOP_PASS, PCN_HOP_NETDEV, PCN_HOP_PROGRAM };

struct pcn_hop {
  u32 kind;
  u32 ifindex; /* of PCN_HOP_NETDEV */
};
BPF_TABLE("array", u32, struct pcn_hop, pcn_hops, 2 * PCN_MAX_PORTS);
BPF_TABLE("prog", u32, u32, pcn_next, 2 * PCN_MAX_PORTS);
BPF_TABLE("percpu_array", u32, u64, pcn_drops, PCN_DROP_REASONS);

#if PCN_XDP
/* XDP has no per-packet scratch space, so the port of arrival crosses a tail call in a per-CPU slot. */
BPF_TABLE("percpu_array", u32, u32, pcn_arrival, 1);
#endif

static __always_inline int pcn_count_drop(u32 reason) {
  reason &= PCN_DROP_REASONS - 1;
  u64 *drops = pcn_drops.lookup(&reason);
  if (drops)
    (*drops)++;
  return PCN_SHOT;
}

static __always_inline int pcn_pkt_drop(struct CTXTYPE *ctx, struct pkt_metadata *md) {
  return pcn_count_drop(md->reason);
}

/* A tail call with a constant index is a direct jump once the kernel has patched it; with a computed one it is an
 * indirect branch, several times as dear. The first eight rows, which most cubes live in, are spelled out. */
static __always_inline int pcn_jump(struct CTXTYPE *ctx, u32 row) {
  switch (row) {
  case 0: pcn_next.call(ctx, 0); break;
  case 1: pcn_next.call(ctx, 1); break;
  case 2: pcn_next.call(ctx, 2); break;
  case 3: pcn_next.call(ctx, 3); break;
  case 4: pcn_next.call(ctx, 4); break;
  case 5: pcn_next.call(ctx, 5); break;
  case 6: pcn_next.call(ctx, 6); break;
  case 7: pcn_next.call(ctx, 7); break;
  default: pcn_next.call(ctx, row);
  }
  return pcn_count_drop(PCN_DROP_NOT_READY);
}

static __always_inline int pcn_leave(struct CTXTYPE *ctx, u32 row) {
  struct pcn_hop *hop = pcn_hops.lookup(&row);
  if (!hop)
    return pcn_count_drop(PCN_DROP_NO_PEER);
  if (hop->kind == PCN_HOP_NETDEV)
    return bpf_redirect(hop->ifindex, 0);
  if (hop->kind == PCN_HOP_PROGRAM)
    return pcn_jump(ctx, row);
  if (hop->kind == PCN_HOP_PASS)
    return PCN_PASS;
  return pcn_count_drop(PCN_DROP_NO_PEER);
}

/* Send to a port, whatever its peer is. */
static __always_inline int pcn_pkt_redirect(struct CTXTYPE *ctx, struct pkt_metadata *md, u32 port) {
  return pcn_leave(ctx, port);
}

/* Send to the slow path. Until an agent listens there is none, and the packet is dropped and counted as such. */
static __always_inline int pcn_pkt_controller(struct CTXTYPE *ctx, struct pkt_metadata *md, u32 reason) {
  return pcn_count_drop(PCN_DROP_NO_SLOWPATH);
}

/* ---- Microcubes: go on in another program of this cube. Rows 0-31 are ingress programs, 32-63 egress ones. ---- */

#define PCN_MAX_PROGRAMS 32
BPF_TABLE("prog", u32, u32, pcn_calls, 2 * PCN_MAX_PROGRAMS);
#define call_ingress_program(ctx, i) pcn_calls.call(ctx, (i))
#define call_egress_program(ctx, i) pcn_calls.call(ctx, PCN_MAX_PROGRAMS + (i))

/* ---- Flooding: a copy to every port but the one of arrival, made in the kernel. A port whose way out is no plain
 * netdev (its peer is a cube, or transparent cubes sit on it) is led through a hidden veth pair, near and far: what
 * is sent out at the near end arrives at the far end, where the port's way out begins. ---- */

#if PCN_XDP
struct pcn_reentry {
  u32 near; /* 0: the port is a plain netdev */
  u32 far;
};
BPF_DEVMAP(pcn_flood_xdp, PCN_MAX_PORTS);
BPF_TABLE("array", u32, struct pcn_reentry, pcn_reenter, PCN_MAX_PORTS);

/* The broadcast leaves out the netdev of arrival. A frame that came by a tail call did not come from this port's
 * near end, so it takes one turn through the pair first: sent out at the far end it comes back in at the near end. */
static __always_inline int pcn_pkt_flood(struct CTXTYPE *ctx, struct pkt_metadata *md) {
  u32 port = md->in_port;
  struct pcn_reentry *entry = pcn_reenter.lookup(&port);
  if (entry && entry->near && ctx->ingress_ifindex != entry->near)
    return bpf_redirect(entry->far, 0);
  return pcn_flood_xdp.redirect_map(0, BPF_F_BROADCAST | BPF_F_EXCLUDE_INGRESS);
}
#else
enum pcn_flood_kind { PCN_FLOOD_END, PCN_FLOOD_HOLE, PCN_FLOOD_MEMBER };
struct pcn_member {
  u32 kind;
  u32 ifindex;
  u32 ingress; /* 1: a hidden veth's far end, to be entered rather than left by */
};
BPF_TABLE("array", u32, struct pcn_member, pcn_flood_tc, PCN_MAX_PORTS);

/* Loop bound: PCN_MAX_PORTS. The last copy is the packet itself, so two-port cubes clone nothing. */
static __always_inline int pcn_pkt_flood(struct CTXTYPE *ctx, struct pkt_metadata *md) {
  u32 ifindex = 0, ingress = 0;
  for (u32 port = 0; port < PCN_MAX_PORTS; port++) {
    u32 row = port;
    struct pcn_member *member = pcn_flood_tc.lookup(&row);
    if (!member || member->kind == PCN_FLOOD_END)
      break;
    if (member->kind == PCN_FLOOD_HOLE || port == md->in_port)
      continue;
    if (ifindex)
      bpf_clone_redirect(ctx, ifindex, ingress);
    ifindex = member->ifindex;
    ingress = member->ingress;
  }
  if (!ifindex)
    return pcn_count_drop(PCN_DROP_NO_PEER);
  return bpf_redirect(ifindex, ingress);
}
#endif

/* ---- Log: a record in a ring; below the cube's level the call is not in the loaded program. The compiler replaces
 * the format by its number. At most four arguments; %I is an IPv4 address, %M a MAC (u64), %P a port. ---- */

enum pcn_level { LOG_TRACE, LOG_DEBUG, LOG_INFO, LOG_WARN, LOG_ERR, LOG_CRITICAL, LOG_OFF };

struct pcn_log_record {
  u64 time; /* CLOCK_MONOTONIC, nanoseconds */
  u32 cube; /* crc32 of its name */
  u32 format;
  u32 level;
  u32 port;
  u64 args[4];
};
BPF_RINGBUF_OUTPUT(pcn_log_ring, 64);

#define pcn_log(ctx, level, format, ...) pcn_log_4(level, format, ##__VA_ARGS__, 0, 0, 0, 0)
#define pcn_log_4(level, format, a, b, c, d, ...)                            \
  do {                                                                       \
    if ((level) >= PCN_CONST(LOGLEVEL))                                      \
      pcn_log_write(level, format, (u64)(a), (u64)(b), (u64)(c), (u64)(d));  \
  } while (0)

static __always_inline void pcn_log_write(u32 level, u32 format, u64 a, u64 b, u64 c, u64 d) {
  struct pcn_log_record *record = pcn_log_ring.ringbuf_reserve(sizeof(*record));
  if (!record)
    return;
  record->time = bpf_ktime_get_ns();
  record->cube = PCN_CONST(CUBE);
  record->format = format;
  record->level = level;
  record->port = 0;
  record->args[0] = a;
  record->args[1] = b;
  record->args[2] = c;
  record->args[3] = d;
  pcn_log_ring.ringbuf_submit(record, 0);
}

/* ---- The program around a microcube. ---- */

static __always_inline int handle_rx(struct CTXTYPE *ctx, struct pkt_metadata *md);

static __always_inline int pcn_accept(struct CTXTYPE *ctx, struct pkt_metadata *md) {
#if PCN_TRANSPARENT
  return pcn_leave(ctx, PCN_EGRESS ? 0 : 1);
#elif PCN_EGRESS
  return pcn_leave(ctx, PCN_MAX_PORTS + md->in_port);
#else
  return PCN_PASS;
#endif
}

int pcn_main(struct CTXTYPE *ctx) {
  struct pkt_metadata md = {};
#if PCN_XDP
  u32 zero = 0;
  u32 *arrival = pcn_arrival.lookup(&zero);
  if (!arrival)
    return PCN_SHOT;
  md.in_port = *arrival;
  md.packet_len = ctx->data_end - ctx->data;
#else
  md.in_port = ctx->cb[0];
  md.packet_len = ctx->len;
#endif
  int verdict = handle_rx(ctx, &md);
  if (verdict == RX_OK)
    return pcn_accept(ctx, &md);
  if (verdict == RX_DROP)
    return pcn_pkt_drop(ctx, &md);
  return verdict;
}
