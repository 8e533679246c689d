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

/* ---- Slow path: the packet goes to the cube's Python, through a ring that is the host's. While no agent reads it,
 * packets wait there; once it is full they are dropped and counted. Either way the packet is consumed. A program that
 * wants to go on with it ignores what these return. ---- */

#define PCN_SLOWPATH_PAGES 1024
#define PCN_SLOWPATH_MOST 9216 /* bytes of a packet that are handed up; of a longer one, the first so many */

enum { PCN_FROM_EGRESS = 1, PCN_FROM_XDP = 2, PCN_TAGGED = 4 };

struct pcn_packet_in {
  u64 time; /* CLOCK_MONOTONIC, nanoseconds */
  u32 cube; /* crc32 of its name */
  u32 port;
  u32 reason;
  u32 md[3];
  u32 length;   /* of the packet as it is here */
  u32 flags;
  u32 vlan;     /* PCN_TAGGED: a tag that is beside the packet and not in it; protocol << 16 | tag */
  u32 captured; /* bytes of the packet that follow */
};
BPF_RINGBUF_OUTPUT(pcn_slowpath, PCN_SLOWPATH_PAGES);

#if PCN_XDP
#define pcn_load_bytes bpf_xdp_load_bytes
#define pcn_store_bytes(ctx, offset, from, length) bpf_xdp_store_bytes(ctx, offset, from, length)
#else
#define pcn_load_bytes bpf_skb_load_bytes
#define pcn_store_bytes(ctx, offset, from, length) bpf_skb_store_bytes(ctx, offset, from, length, 0)
#endif

/* Make the first `bytes` of a packet lie between data and data_end, as far as it is that long. Under TC a long packet may
 * show no more than its Ethernet header there. True: it was moved, and pointers into it must be made anew. */
static __always_inline bool pcn_pull(struct CTXTYPE *ctx, u32 bytes) {
#if PCN_XDP
  return false;
#else
  u32 shown = ctx->data_end - ctx->data;
  if (shown >= bytes || shown >= ctx->len)
    return false;
  return bpf_skb_pull_data(ctx, bytes < ctx->len ? bytes : ctx->len) == 0;
#endif
}

/* The verifier must know a record's size, so there are three; it follows each `room` on a path of its own. */
static __always_inline int pcn_pkt_controller_with_metadata(struct CTXTYPE *ctx, struct pkt_metadata *md, u32 reason,
                                                            u32 metadata[3]) {
#if PCN_XDP
  u64 length = ctx->data_end - ctx->data;
#else
  u64 length = ctx->len;
#endif
  u64 room = length <= 256 ? 256 : length <= 2048 ? 2048 : PCN_SLOWPATH_MOST;
  u64 captured = length < room ? length : room;
  struct pcn_packet_in *record = pcn_slowpath.ringbuf_reserve(sizeof(*record) + room);
  if (!record)
    return pcn_count_drop(PCN_DROP_NO_SLOWPATH);
  record->time = bpf_ktime_get_ns();
  record->cube = PCN_CONST(CUBE);
  record->port = md->in_port;
  record->reason = reason;
  record->md[0] = metadata[0];
  record->md[1] = metadata[1];
  record->md[2] = metadata[2];
  record->length = length;
  record->flags = (PCN_EGRESS ? PCN_FROM_EGRESS : 0) | (PCN_XDP ? PCN_FROM_XDP : 0);
  record->vlan = 0;
  record->captured = captured;
#if !PCN_XDP
  if (ctx->vlan_present) {
    record->flags |= PCN_TAGGED;
    record->vlan = (u32)ntohs(ctx->vlan_proto) << 16 | (ctx->vlan_tci & 0xffff);
  }
#endif
  asm volatile("" : "+r"(captured)); /* or the bounds are checked on a copy, and the verifier does not see that */
  if (captured < sizeof(struct ethhdr) || captured > room || pcn_load_bytes(ctx, 0, record + 1, captured) < 0) {
    pcn_slowpath.ringbuf_discard(record, 0);
    return pcn_count_drop(PCN_DROP_MALFORMED);
  }
  pcn_slowpath.ringbuf_submit(record, 0);
  return PCN_SHOT;
}

static __always_inline int pcn_pkt_controller(struct CTXTYPE *ctx, struct pkt_metadata *md, u32 reason) {
  return pcn_pkt_controller_with_metadata(ctx, md, reason, md->md);
}

/* ---- VLAN tags, the outermost one. Under TC a tag is usually beside the packet, under XDP always in it; these hide which.
 * Protocols are in network order. push and pop move the packet: pointers into it must be made anew. ---- */

struct pcn_tag {
  u16 protocol;
  u16 tci;
};

static __always_inline bool pcn_is_tag(u32 protocol) {
  return protocol == htons(ETH_P_8021Q) || protocol == htons(ETH_P_8021AD);
}

/* The tag of a packet; protocol 0 if there is none. */
static __always_inline struct pcn_tag pcn_get_tag(struct CTXTYPE *ctx) {
  struct pcn_tag tag = {};
#if !PCN_XDP
  if (ctx->vlan_present) {
    tag.protocol = ctx->vlan_proto;
    tag.tci = htons(ctx->vlan_tci);
    return tag;
  }
#endif
  if (pcn_load_bytes(ctx, 2 * ETH_ALEN, &tag, sizeof(tag)) < 0 || !pcn_is_tag(tag.protocol))
    tag.protocol = 0;
  return tag;
}

static __always_inline bool pcn_is_vlan_present(struct CTXTYPE *ctx) { return pcn_get_tag(ctx).protocol != 0; }

/* 0 to 4095, or -1 if there is no tag. */
static __always_inline int pcn_get_vlan_id(struct CTXTYPE *ctx) {
  struct pcn_tag tag = pcn_get_tag(ctx);
  return tag.protocol ? ntohs(tag.tci) & 0xfff : -1;
}

/* Of the tag, in network order, or -1 if there is no tag. */
static __always_inline int pcn_get_vlan_proto(struct CTXTYPE *ctx) {
  struct pcn_tag tag = pcn_get_tag(ctx);
  return tag.protocol ? tag.protocol : -1;
}

/* 0, or less if it could not be done. `vlan` may carry a priority in its upper bits. */
static __always_inline int pcn_vlan_push_tag(struct CTXTYPE *ctx, u16 protocol, u32 vlan) {
#if PCN_XDP
  u8 macs[2 * ETH_ALEN];
  struct pcn_tag tag = {protocol, htons(vlan)};
  if (bpf_xdp_load_bytes(ctx, 0, macs, sizeof(macs)) < 0 || bpf_xdp_adjust_head(ctx, -(int)sizeof(tag)) < 0)
    return -1;
  if (bpf_xdp_store_bytes(ctx, 0, macs, sizeof(macs)) < 0)
    return -1;
  return bpf_xdp_store_bytes(ctx, sizeof(macs), &tag, sizeof(tag));
#else
  return bpf_skb_vlan_push(ctx, protocol, vlan);
#endif
}

/* 0 also where there is no tag, or less if it could not be done. */
static __always_inline int pcn_vlan_pop_tag(struct CTXTYPE *ctx) {
#if PCN_XDP
  u8 macs[2 * ETH_ALEN];
  if (!pcn_get_tag(ctx).protocol)
    return 0;
  if (bpf_xdp_load_bytes(ctx, 0, macs, sizeof(macs)) < 0 || bpf_xdp_adjust_head(ctx, sizeof(struct pcn_tag)) < 0)
    return -1;
  return bpf_xdp_store_bytes(ctx, 0, macs, sizeof(macs));
#else
  return bpf_skb_vlan_pop(ctx);
#endif
}

/* ---- Checksums, with the arguments of the kernel's helpers: the low four bits of `flags` are the size of `old` and `new`
 * (2 or 4), or 0 if `new` is what pcn_csum_diff gave. Under XDP there are no such helpers, so they are written out; and no
 * half-done checksums, so BPF_F_PSEUDO_HDR makes no difference there. 0, or less if it could not be done. ---- */

#define pcn_csum_diff(from, from_size, to, to_size, seed) bpf_csum_diff(from, from_size, to, to_size, seed)

#if PCN_XDP
static __always_inline u16 pcn_csum_fold(u64 sum) {
  sum = (sum & 0xffffffff) + (sum >> 32);
  sum = (sum & 0xffff) + (sum >> 16);
  sum = (sum & 0xffff) + (sum >> 16);
  sum = (sum & 0xffff) + (sum >> 16);
  return ~sum;
}

static __always_inline int pcn_csum_replace(struct CTXTYPE *ctx, u32 offset, u32 old, u32 new, u32 flags, bool l4) {
  u16 check;
  if (bpf_xdp_load_bytes(ctx, offset, &check, sizeof(check)) < 0)
    return -1;
  if (l4 && (flags & BPF_F_MARK_MANGLED_0) && !(flags & BPF_F_MARK_ENFORCE) && !check)
    return 0; /* UDP without a checksum */
  u64 sum = (u16)~check;
  switch (flags & BPF_F_HDR_FIELD_MASK) {
  case 0: sum += new; break;
  case 2: sum += (u16)~old + (u64)(u16)new; break;
  case 4: sum += (u64)(u32)~old + new; break;
  default: return -1;
  }
  check = pcn_csum_fold(sum);
  if (l4 && (flags & BPF_F_MARK_MANGLED_0) && !check)
    check = 0xffff;
  return bpf_xdp_store_bytes(ctx, offset, &check, sizeof(check));
}
#define pcn_l3_csum_replace(ctx, offset, old, new, flags) pcn_csum_replace(ctx, offset, old, new, flags, false)
#define pcn_l4_csum_replace(ctx, offset, old, new, flags) pcn_csum_replace(ctx, offset, old, new, flags, true)
#else
#define pcn_l3_csum_replace(ctx, offset, old, new, flags) bpf_l3_csum_replace(ctx, offset, old, new, flags)
#define pcn_l4_csum_replace(ctx, offset, old, new, flags) bpf_l4_csum_replace(ctx, offset, old, new, flags)
#endif

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

/* ---- Flooding: a copy to every port but the one of arrival, made in the kernel. A port whose way out is no plain
 * netdev (its peer is a cube, or transparent cubes sit on it) is led through a hidden veth pair, near and far: what
 * is sent out at the near end arrives at the far end, where the port's way out begins. ---- */

#if PCN_XDP
struct pcn_reentry {
  u32 near; /* 0: the port is a plain netdev */
  u32 far;
};
/* Members by port. BCC's BPF_DEVMAP, and the look-up that it leaves out. */
struct pcn_flood_xdp_table_t {
  u32 key;
  u32 leaf; /* ifindex */
  u32 *(*lookup)(u32 *);
  u64 (*redirect_map)(int, int);
  u32 max_entries;
};
__attribute__((section("maps/devmap"))) struct pcn_flood_xdp_table_t pcn_flood_xdp = {.max_entries = PCN_MAX_PORTS};
BPF_TABLE("array", u32, struct pcn_reentry, pcn_reenter, PCN_MAX_PORTS);

/* Whether there is anybody but the port of arrival: the kernel's broadcast does not tell when there was nobody.
 * Loop bound: PCN_MAX_PORTS, but it ends at the first, so that only who has nobody pays for all. */
static __always_inline bool pcn_flood_reaches(u32 in_port) {
  for (u32 port = 0; port < PCN_MAX_PORTS; port++) {
    u32 row = port;
    if (port != in_port && pcn_flood_xdp.lookup(&row))
      return true;
  }
  return false;
}

/* The broadcast leaves out the netdev of arrival. A frame that came by a tail call did not come from this port's
 * near end, so it takes one turn through the pair first: sent out at the far end it comes back in at the near end.
 * Whether there is a pair is read off the members that the broadcast goes by, so that both change in one write. */
static __always_inline int pcn_pkt_flood(struct CTXTYPE *ctx, struct pkt_metadata *md) {
  u32 port = md->in_port, *member = pcn_flood_xdp.lookup(&port);
  struct pcn_reentry *entry = pcn_reenter.lookup(&port);
  if (member && entry && *member == entry->near && ctx->ingress_ifindex != entry->near)
    return bpf_redirect(entry->far, 0);
  if (!pcn_flood_reaches(port))
    return pcn_count_drop(PCN_DROP_NO_PEER);
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

#define pcn_log(ctx, level, format, ...) pcn_log_4(ctx, level, format, ##__VA_ARGS__, 0, 0, 0, 0)
#define pcn_log_4(ctx, level, format, a, b, c, d, ...)                            \
  do {                                                                            \
    if ((level) >= PCN_CONST(LOGLEVEL))                                           \
      pcn_log_write(ctx, level, format, (u64)(a), (u64)(b), (u64)(c), (u64)(d));  \
  } while (0)

static __always_inline void pcn_log_write(struct CTXTYPE *ctx, u32 level, u32 format, u64 a, u64 b, u64 c, u64 d) {
  struct pcn_log_record *record = pcn_log_ring.ringbuf_reserve(sizeof(*record));
  if (!record)
    return;
  record->time = bpf_ktime_get_ns();
  record->cube = PCN_CONST(CUBE);
  record->format = format;
  record->level = level;
#if PCN_XDP
  u32 zero = 0, *arrival = pcn_arrival.lookup(&zero);
  record->port = arrival ? *arrival : 0;
#else
  record->port = ctx->cb[0];
#endif
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
