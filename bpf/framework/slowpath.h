/* Slow path: the packet goes to the cube's Python, through a ring that is the cube's own, so that a flood at one cube
 * takes no room from another. While no worker reads it, packets wait there; once it is full they are dropped and counted.
 * Either way the packet is consumed. A program that wants to go on with it ignores what these return. A service without a slow path has no ring, and counts such packets as dropped. */

#ifndef PCN_SLOWPATH
#define PCN_SLOWPATH 1 /* the compiler says 0 for a service without one */
#endif

#define PCN_SLOWPATH_PAGES 64 /* 256 KiB: 124 full-sized packets, 840 of at most 256 bytes */
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
#if PCN_SLOWPATH
BPF_RINGBUF_OUTPUT(pcn_slowpath, PCN_SLOWPATH_PAGES);

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
  if (!pcn_bound(&captured, room) || pcn_load_bytes(ctx, 0, record + 1, captured) < 0) {
    pcn_slowpath.ringbuf_discard(record, 0);
    return pcn_count_drop(PCN_DROP_MALFORMED);
  }
  pcn_slowpath.ringbuf_submit(record, 0);
  return PCN_SHOT;
}
#else
static __always_inline int pcn_pkt_controller_with_metadata(struct CTXTYPE *ctx, struct pkt_metadata *md, u32 reason,
                                                            u32 metadata[3]) {
  return pcn_count_drop(PCN_DROP_NO_SLOWPATH);
}
#endif

static __always_inline int pcn_pkt_controller(struct CTXTYPE *ctx, struct pkt_metadata *md, u32 reason) {
  return pcn_pkt_controller_with_metadata(ctx, md, reason, md->md);
}
