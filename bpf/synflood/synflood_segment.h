/* The SYN proxy's sessions, and how a segment becomes another one on its way.
 *
 * A client's SYN is answered with a cookie and a window of 0. Its ACK, if the cookie is right, becomes a SYN to the server, with the
 * client's own number. The server's SYN-ACK becomes one byte that the client had before: the cookie's own number, which opens the
 * window, and which the client acknowledges at once; that is the ACK which the server waits for. From then on the server's numbers, and
 * its timestamps, differ by what the session says from those that the client sees.
 *
 * Numbers are in host order, addresses and ports in network order.
 */
#ifndef PCN_SYNFLOOD_SEGMENT_H
#define PCN_SYNFLOOD_SEGMENT_H
#include "synflood.h"

#define TOLD_SCALE 7 /* of the server's window, before the server has said its own */
#define SEEN 64      /* bytes of a segment: a power of two, and all its header */
#define OPTIONS_MOST 40
#define STAMP_ONLY htonl(0x0101080a)
/* Of a row's bytes the verifier knows nothing, and does not follow each way to it to the end. */
#define FORGET() asm volatile("" : : : "memory")

enum { OPTION_END, OPTION_NOTHING, OPTION_MSS, OPTION_SCALE, OPTION_SACKS, OPTION_BLOCKS, OPTION_STAMP = 8 };
enum { HAS_STAMP = 1, HAS_SACKS = 2, HAS_SCALE = 4, SERVER_SCALES = 8, BEGAN_ANEW = 16 }; /* of a session: the client, but for one; the last: a SYN came since */
enum { ASKED, OPEN };

struct session_key {
  u32 client[4], server[4];
  u16 client_port, server_port;
};
struct session {
  u32 client_first, cookie; /* the numbers of the SYN, and of the answer to it */
  u32 more;                 /* the server's numbers are so much higher than those that the client sees */
  u32 stamp, stamps_more;   /* what the client last saw of ours; the server's timestamps are so much higher */
  u16 mss;                  /* the client's */
  u8 state, has;
  u8 client_scale, server_scale;
  u16 zero;
};
BPF_TABLE("lru_hash", struct session_key, struct session, proxy_sessions, 262144);

enum proxy_counted { OPENED, PROXY_COUNTED };
BPF_TABLE("percpu_array", u32, u64, proxy_counters, PROXY_COUNTED);

struct header { /* TCP's */
  struct segment head;
  u16 urgent;
  u32 options[(SEEN - 20) / 4];
};
/* One packet; too large for the stack. */
struct proxy_packet {
  struct parsed is;
  struct session_key key;
  struct session new_session;
  u32 ip[10];
  struct header old, new; /* its first bytes, as they are and as they will be; zeros behind its end */
  u32 size;               /* of the segment, as far as it is seen */
  u32 at;                 /* how far options are read */
  u32 stamp_at, blocks_at, blocks; /* where a timestamp and the first of so many blocks are; 0: there are none */
  u32 stamp, echo;
  u16 mss;
  u8 scale, has;
};
BPF_TABLE("percpu_array", u32, struct proxy_packet, proxy_packets, 1);

static __always_inline struct proxy_packet *the_packet() {
  u32 row = 0;
  return proxy_packets.lookup(&row);
}

static __always_inline u32 header_size(const struct header *of) { return (of->head.offset >> 4) * 4; }

static __always_inline u32 word_at(const struct header *of, u32 at) {
  const u8 *bytes = (const u8 *)of;
  u32 word = 0;
#pragma unroll
  for (int byte = 0; byte < 4; byte++)
    word = word << 8 | bytes[(at + byte) & (SEEN - 1)];
  return word;
}

static __always_inline void put_word(struct header *of, u32 at, u32 word) {
  u8 *bytes = (u8 *)of;
#pragma unroll
  for (int byte = 0; byte < 4; byte++)
    bytes[(at + byte) & (SEEN - 1)] = word >> (24 - 8 * byte);
}

/* Loop bound: the most bytes of options. */
static __always_inline void read_options(struct proxy_packet *packet) {
  u32 size = header_size(&packet->old);
  packet->stamp_at = packet->blocks_at = packet->blocks = 0;
  packet->has = packet->scale = packet->mss = 0;
  packet->at = 20;
  if (size == 32 && packet->old.options[0] == STAMP_ONLY) {
    packet->stamp_at = 24;
    packet->at = size;
  }
  for (int i = 0; i < OPTIONS_MOST; i++) {
    FORGET();
    u32 here = packet->at;
    const u8 *bytes = (const u8 *)&packet->old;
    if (here >= size)
      break;
    u8 kind = bytes[here & (SEEN - 1)], length = bytes[(here + 1) & (SEEN - 1)];
    if (kind == OPTION_NOTHING)
      length = 1;
    else if (kind == OPTION_END || length < 2 || here + length > size)
      break;
    packet->at = here + length;
    if (kind == OPTION_MSS && length == 4)
      packet->mss = bytes[(here + 2) & (SEEN - 1)] << 8 | bytes[(here + 3) & (SEEN - 1)];
    if (kind == OPTION_SACKS)
      packet->has |= HAS_SACKS;
    if (kind == OPTION_SCALE && length == 3) {
      u8 scale = bytes[(here + 2) & (SEEN - 1)];
      packet->scale = scale > 14 ? 14 : scale;
      packet->has |= HAS_SCALE;
    }
    if (kind == OPTION_STAMP && length == 10)
      packet->stamp_at = here + 2;
    if (kind == OPTION_BLOCKS && length >= 10) {
      packet->blocks_at = here + 2;
      packet->blocks = (length - 2) / 8;
    }
  }
  FORGET();
  if (packet->stamp_at) {
    packet->has |= HAS_STAMP;
    packet->stamp = word_at(&packet->old, packet->stamp_at);
    packet->echo = word_at(&packet->old, packet->stamp_at + 4);
  }
}

/* The first bytes of a segment, and what its options say. False: it is not all there. */
static __always_inline bool read_segment(struct CTXTYPE *ctx, struct proxy_packet *packet) {
  u64 size = packet->is.payload_end - packet->is.l4;
  __builtin_memset(&packet->old, 0, SEEN);
  if (size > SEEN)
    size = SEEN;
  if (!pcn_bound(&size, SEEN) || pcn_load_bytes(ctx, packet->is.l4, &packet->old, size) < 0)
    return false;
  packet->size = size;
  if (header_size(&packet->old) < 20 || header_size(&packet->old) > size)
    return false;
  read_options(packet);
  __builtin_memcpy(&packet->new, &packet->old, SEEN);
  return true;
}

/* Whether its first bytes are all of it. */
static __always_inline bool is_seen(const struct proxy_packet *packet) {
  return packet->is.payload_end - packet->is.l4 == packet->size;
}

/* What was seen of the segment becomes `new`; its checksum goes with it, whether it is finished or left to a device. */
static __always_inline bool put_segment(struct CTXTYPE *ctx, const struct proxy_packet *packet, u64 size) {
  u32 check = packet->is.l4 + offsetof(struct segment, check);
  u32 changed = bpf_csum_diff((void *)&packet->old, SEEN, (void *)&packet->new, SEEN, 0);
  return pcn_bound(&size, SEEN) && pcn_store_bytes(ctx, packet->is.l4, (void *)&packet->new, size) >= 0 &&
         pcn_l4_csum_replace(ctx, check, 0, changed, 0) >= 0;
}

/* The segment, of which all is seen, becomes the first `size` bytes of `new`, behind which `new` is zero; the packet ends there. IP says
 * so, and TCP's checksum covers it. */
static __always_inline bool become(struct CTXTYPE *ctx, struct proxy_packet *packet, u32 size) {
  const struct parsed *is = &packet->is;
  bool is_4 = is->family == 4;
  u32 end = is->l4 + size, from = is_4 ? is->l3 : is->l3 + sizeof(struct ipv6hdr); /* IP's length counts from there */
  u16 was = htons(is->payload_end - from), becomes = htons(end - from);
#if PCN_XDP
  if (bpf_xdp_adjust_tail(ctx, (int)end - (int)(u32)bpf_xdp_get_buff_len(ctx)))
    return false;
#else
  if (bpf_skb_change_tail(ctx, end, 0))
    return false;
#endif
  if (!put_segment(ctx, packet, size) || pcn_store_bytes(ctx, is->l3 + (is_4 ? 2 : 4), &becomes, 2) < 0)
    return false;
  if (is_4 && pcn_l3_csum_replace(ctx, is->l3 + offsetof(struct iphdr, check), was, becomes, 2) < 0)
    return false;
  return pcn_l4_csum_replace(ctx, is->l4 + offsetof(struct segment, check), htons(packet->size), htons(size), BPF_F_PSEUDO_HDR | 2) >= 0;
}

/* A header with these options: MSS, and with a timestamp what needs one. Gives its size. */
static __always_inline u32 fresh_options(struct header *new, u16 mss, u8 has, u8 scale, u32 stamp, u32 echo) {
  u32 size = has & HAS_STAMP ? 40 : 24;
  __builtin_memset(new->options, 0, sizeof(new->options));
  new->options[0] = htonl(0x02040000 | mss);
  if (has & HAS_STAMP) {
    new->options[1] = htonl(has & HAS_SACKS ? 0x0402080a : 0x0101080a);
    new->options[2] = htonl(stamp);
    new->options[3] = htonl(echo);
    new->options[4] = htonl(has & HAS_SCALE ? 0x01030300 | scale : 0x01010101);
  }
  new->head.offset = size << 2;
  new->urgent = 0;
  return size;
}

static __always_inline u16 at_most_16_bits(u32 window) { return window > 0xffff ? 0xffff : window; }
#endif
