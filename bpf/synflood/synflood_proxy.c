/* From clients to servers behind this host: SYNs are answered with cookies, a cookie that comes back asks the server, and what follows
 * gets the server's numbers. What belongs to no session passes: it may have begun before.
 */
#include "synflood_segment.h"

/* The kernel's cookies have room for a number below 4, and are right for whatever keeps the sum of it and of the SYN's number. Here it says which
 * MSS the client has, and its lowest bit that the SYN's number is the one before this segment's: a client whose ACK was lost asks for the
 * window by the byte before. Where there are timestamps, which have room for more, it is 0. */
#define CHOICES 4 /* of an MSS */
#define CHOICE_WITHOUT_STAMP 2
#define PLAIN 20 /* bytes of a header without options */

/* What a timestamp has of the client's SYN below the time. */
#define STAMP_BITS 0xff
#define STAMP_SCALE 0x0f
#define NO_SCALE 15
#define STAMP_SACKS 0x10
#define STAMP_ODD 0x20 /* its number */
#define STAMP_CHOICE 6
#define COOKIE_AGE 131072 /* ms: the kernel takes none that is older than two of its minutes */

static __always_inline u32 clock() { return (u32)(bpf_ktime_get_ns() / 1000000) & ~STAMP_BITS; } /* milliseconds */

static __always_inline u16 mss_choice(u32 family, u32 which) {
  if (family == 4)
    return which == 0 ? 536 : which == 1 ? 1300 : which == 2 ? 1440 : 1460;
  return which == 0 ? 1220 : which == 1 ? 1380 : which == 2 ? 1420 : 1440;
}

static __always_inline bool read_ip(struct CTXTYPE *ctx, struct proxy_packet *packet) {
  const struct parsed *is = &packet->is;
  return (is->family == 4 ? pcn_load_bytes(ctx, is->l3, packet->ip, sizeof(struct iphdr))
                          : pcn_load_bytes(ctx, is->l3, packet->ip, sizeof(struct ipv6hdr))) >= 0;
}

/* ---- The client's SYN. ---- */

static __always_inline s64 make_cookie(struct proxy_packet *packet) {
  packet->new.head.offset = PLAIN << 2;
  return packet->is.family == 4 ? bpf_tcp_raw_gen_syncookie_ipv4((void *)packet->ip, (void *)&packet->new, PLAIN)
                                : bpf_tcp_raw_gen_syncookie_ipv6((void *)packet->ip, (void *)&packet->new, PLAIN);
}

/* A SYN-ACK in its place, with a window of 0. */
static __always_inline int answer(struct CTXTYPE *ctx, struct pkt_metadata *md, struct proxy_packet *packet, u32 mss) {
  struct header *new = &packet->new;
  s64 cookie = make_cookie(packet);
  u32 seq = ntohl(packet->old.head.seq), choice = 0, room, stamp;
  if (cookie < 0)
    return RX_DROP;
#pragma unroll
  for (int i = 1; i < CHOICES; i++)
    choice += packet->mss >= mss_choice(packet->is.family, i);
  room = packet->has & HAS_STAMP ? 0 : choice >= CHOICE_WITHOUT_STAMP ? 3 : 1;
  stamp = clock() | choice << STAMP_CHOICE | (seq & 1 ? STAMP_ODD : 0) | (packet->has & HAS_SACKS ? STAMP_SACKS : 0) |
          (packet->has & HAS_SCALE ? packet->scale : NO_SCALE);
  u32 length = fresh_options(new, packet->is.family == 4 ? mss : mss - 20, packet->has, TOLD_SCALE, stamp, packet->stamp);
  new->head.sport = packet->old.head.dport;
  new->head.dport = packet->old.head.sport;
  new->head.seq = htonl((u32)cookie + room);
  new->head.ack = htonl(seq + 1);
  new->head.flags = TCP_SYN | TCP_ACK;
  new->head.window = 0;
  if (!become(ctx, packet, length))
    return RX_DROP;
  swap_addresses(ctx, &packet->is);
  swap_macs(ctx);
  if (!renew_header(ctx, &packet->is))
    return RX_DROP;
  count(COOKIES);
  return send_back(ctx, md);
}

static __always_inline int handle_syn(struct CTXTYPE *ctx, struct pkt_metadata *md, struct proxy_packet *packet, u32 mss) {
  u8 target = 1;
  count(SYNS);
  md->reason = PCN_DROP_POLICY;
  if (packet->is.fragment || has_more(&packet->is) || pcn_load_bytes(ctx, 0, &target, 1) < 0 || target & 1)
    return RX_DROP; /* nobody's, but a flood's */
  if (!is_seen(packet)) {
    count(CARRYING);
    return RX_DROP;
  }
  struct session *session = proxy_sessions.lookup(&packet->key);
  if (session)
    session->has |= BEGAN_ANEW;
  return read_ip(ctx, packet) ? answer(ctx, md, packet, mss) : RX_DROP;
}

/* ---- Its ACK. ---- */

static __always_inline bool is_cookie(struct proxy_packet *packet, u32 seq, u32 ack) {
  packet->new.head.seq = htonl(seq);
  packet->new.head.ack = htonl(ack);
  return (packet->is.family == 4 ? bpf_tcp_raw_check_syncookie_ipv4((void *)packet->ip, (void *)&packet->new)
                                 : bpf_tcp_raw_check_syncookie_ipv6((void *)packet->ip, (void *)&packet->new)) == 0;
}

/* What a cookie without a timestamp has room for; less than 0: it is none. Loop bound: CHOICES. */
static __always_inline int room_of(struct proxy_packet *packet, u32 seq, u32 ack) {
  int room = -1;
  for (int i = 0; i < CHOICES; i++) {
    if (!is_cookie(packet, seq, ack - i))
      break;
    room = i;
  }
  return room;
}

/* Whether a cookie comes back; the session is then as it and the timestamp say. Loop bound: 2. */
static __always_inline bool check_cookie(struct CTXTYPE *ctx, struct proxy_packet *packet) {
  struct session *new = &packet->new_session;
  u32 seq = ntohl(packet->old.head.seq), ack = ntohl(packet->old.head.ack), bits = packet->echo & STAMP_BITS, choice = 0;
  bool is_right = false;
  if (packet->has & HAS_STAMP && clock() - (packet->echo & ~STAMP_BITS) > COOKIE_AGE)
    return false; /* no timestamp of ours: of a connection that began before, at no cost */
  if (!read_ip(ctx, packet))
    return false;
  __builtin_memset(new, 0, sizeof(*new));
  if (packet->has & HAS_STAMP) {
    seq += ((seq - 1) & 1) != !!(bits & STAMP_ODD);
    choice = bits >> STAMP_CHOICE;
    is_right = is_cookie(packet, seq, ack);
    new->stamp = packet->echo;
    new->has = HAS_STAMP | (bits & STAMP_SACKS ? HAS_SACKS : 0) | ((bits & STAMP_SCALE) != NO_SCALE ? HAS_SCALE : 0);
    new->client_scale = new->has & HAS_SCALE ? bits & STAMP_SCALE : 0;
  } else {
    for (int i = 0; i < 2 && !is_right; i++) {
      int room = room_of(packet, seq + i, ack);
      is_right = room == 1 || room == 3;
      choice = room == 3 ? CHOICE_WITHOUT_STAMP : 0;
      seq += is_right ? i : 0;
    }
  }
  new->client_first = seq - 1;
  new->cookie = ack - 1;
  new->mss = mss_choice(packet->is.family, choice);
  return is_right;
}

/* The ACK becomes the SYN that the client sent. */
static __always_inline int ask_server(struct CTXTYPE *ctx, struct proxy_packet *packet, const struct session *session) {
  struct header *new = &packet->new;
  u32 window = (u32)ntohs(packet->old.head.window) << (session->client_scale & 15);
  __builtin_memcpy(new, &packet->old, sizeof(struct segment));
  u32 length = fresh_options(new, session->mss, session->has, session->client_scale, packet->stamp, 0);
  new->head.seq = htonl(session->client_first);
  new->head.ack = 0;
  new->head.flags = TCP_SYN;
  new->head.window = htons(at_most_16_bits(window));
  return become(ctx, packet, length) ? RX_OK : RX_DROP;
}

/* ---- What follows. ---- */

/* The client acknowledges what the server sent by the server's numbers. Loop bound: four blocks of two edges. */
static __always_inline int translate(struct CTXTYPE *ctx, struct proxy_packet *packet, const struct session *session) {
  struct header *new = &packet->new;
  u32 window = ntohs(packet->old.head.window);
  if (packet->old.head.flags & TCP_ACK)
    new->head.ack = htonl(ntohl(packet->old.head.ack) + session->more);
  if (packet->stamp_at && packet->old.head.flags & TCP_ACK)
    put_word(new, packet->stamp_at + 4, packet->echo + session->stamps_more);
  if (!(session->has & SERVER_SCALES)) /* the server takes the window as it stands */
    new->head.window = htons(at_most_16_bits(window << (session->client_scale & 15)));
  for (u32 edge = 0; edge < 8; edge++) {
    FORGET();
    if (edge >= packet->blocks * 2)
      break;
    u32 at = packet->blocks_at + edge * 4;
    put_word(new, at, word_at(&packet->old, at) + session->more);
  }
  return put_segment(ctx, packet, packet->size) ? RX_OK : RX_DROP;
}

static __always_inline int handle_rx(struct CTXTYPE *ctx, struct pkt_metadata *md) {
  struct proxy_packet *packet = the_packet();
  if (!packet || parse_packet(ctx, &packet->is, md->packet_len) != IS_IP || packet->is.proto != IPPROTO_TCP || packet->is.tags ||
      packet->is.later_fragment)
    return RX_OK;
  struct proxied *network = proxied_of(packet->is.dst);
  if (!network || !read_segment(ctx, packet))
    return RX_OK;
  u8 flags = packet->old.head.flags & (TCP_SYN | TCP_ACK | TCP_RST | TCP_FIN);
  u32 seq = ntohl(packet->old.head.seq), ack = ntohl(packet->old.head.ack), known = 0;
  __builtin_memcpy(packet->key.client, packet->is.src, 16);
  __builtin_memcpy(packet->key.server, packet->is.dst, 16);
  packet->key.client_port = packet->old.head.sport;
  packet->key.server_port = packet->old.head.dport;
  if (flags == TCP_SYN)
    return handle_syn(ctx, md, packet, network->mss);

  struct session *session = proxy_sessions.lookup(&packet->key);
  bool is_bare = flags == TCP_ACK && is_seen(packet) && !packet->is.fragment && !has_more(&packet->is);
  bool is_first = session && ack == session->cookie + 1 && seq - session->client_first <= 1;
  md->reason = PCN_DROP_POLICY;
  if (is_bare && is_first && session->state == ASKED)
    return ask_server(ctx, packet, session); /* the client asks again: the SYN or its answer was lost */
  if (is_bare && !is_first && (!session || session->has & BEGAN_ANEW) && check_cookie(ctx, packet)) {
    if (proxy_sessions.update(&packet->key, &packet->new_session))
      return RX_DROP;
    return ask_server(ctx, packet, &packet->new_session);
  }
  if (!session)
    return RX_OK;
  if (session->state == OPEN) {
    __builtin_memcpy(&packet->new, &packet->old, SEEN); /* as it was before the cookie was looked for */
    return translate(ctx, packet, session);
  }
  if (flags & TCP_RST)
    proxy_sessions.delete(&packet->key);
  return RX_DROP; /* the client has been given no window yet */
}
