/* From servers behind this host to clients of the SYN proxy: the server's SYN-ACK gives the client its window, and what follows gets the
 * numbers that the client knows.
 */
#include "synflood_segment.h"

#define WITHOUT_OPTIONS 20
#define WITH_STAMP 32

static __always_inline void opened() {
  u32 row = OPENED;
  u64 *counter = proxy_counters.lookup(&row);
  if (counter)
    (*counter)++;
}

/* The server's window as the client was told that it would be scaled. */
static __always_inline u16 told_window(const struct session *session, u32 window) {
  if (!(session->has & HAS_SCALE))
    return window;
  return at_most_16_bits((window << (session->server_scale & 15)) >> TOLD_SCALE);
}

/* The SYN-ACK becomes the byte before the server's first, which says nothing. False: it is no answer to what the client asked. */
static __always_inline bool open(struct CTXTYPE *ctx, struct proxy_packet *packet, struct session *session) {
  struct header *new = &packet->new;
  u32 seq = ntohl(packet->old.head.seq), size = WITHOUT_OPTIONS, window = ntohs(packet->old.head.window);
  if (ntohl(packet->old.head.ack) != session->client_first + 1 || !is_seen(packet))
    return false;
  if (session->state == OPEN && seq - session->more != session->cookie)
    return false;
  session->more = seq - session->cookie;
  session->server_scale = packet->scale;
  if (packet->has & HAS_SCALE)
    session->has |= SERVER_SCALES;
  __builtin_memset(new->options, 0, sizeof(new->options));
  if (session->has & HAS_STAMP && packet->has & HAS_STAMP) {
    session->stamps_more = packet->stamp - session->stamp;
    new->options[0] = STAMP_ONLY;
    new->options[1] = htonl(session->stamp);
    new->options[2] = htonl(packet->echo);
    size = WITH_STAMP;
  }
  new->head.seq = htonl(session->cookie);
  new->head.flags = TCP_ACK;
  new->head.offset = size << 2;
  new->head.window = htons(session->has & HAS_SCALE ? window >> TOLD_SCALE : window); /* a SYN-ACK's is not scaled */
  new->urgent = 0;
  if (!become(ctx, packet, size + 1))
    return false;
  if (session->state != OPEN)
    opened();
  session->state = OPEN;
  return true;
}

static __always_inline int handle_rx(struct CTXTYPE *ctx, struct pkt_metadata *md) {
  struct proxy_packet *packet;
  if (!PCN_CONST(PROXIES) || take_answer(ctx))
    return RX_OK;
  packet = the_packet();
  if (!packet || parse_packet(ctx, &packet->is, md->packet_len) != IS_IP || packet->is.proto != IPPROTO_TCP || packet->is.tags ||
      packet->is.later_fragment || !proxied_of(packet->is.src) || !read_segment(ctx, packet))
    return RX_OK;
  __builtin_memcpy(packet->key.client, packet->is.dst, 16);
  __builtin_memcpy(packet->key.server, packet->is.src, 16);
  packet->key.client_port = packet->old.head.dport;
  packet->key.server_port = packet->old.head.sport;
  struct session *session = proxy_sessions.lookup(&packet->key);
  if (!session)
    return RX_OK;
  struct header *new = &packet->new;
  u8 flags = packet->old.head.flags;
  md->reason = PCN_DROP_POLICY;
  if (flags & TCP_SYN)
    return flags & TCP_ACK && open(ctx, packet, session) ? RX_OK : RX_DROP;
  if (session->state == OPEN) {
    new->head.seq = htonl(ntohl(packet->old.head.seq) - session->more);
    new->head.window = htons(told_window(session, ntohs(packet->old.head.window)));
    if (packet->stamp_at)
      put_word(new, packet->stamp_at, packet->stamp - session->stamps_more);
    return put_segment(ctx, packet, packet->size) ? RX_OK : RX_DROP;
  }
  if (!(flags & TCP_RST))
    return RX_DROP;
  new->head.seq = htonl(session->cookie + 1); /* nobody listens: the client has a connection, which ends */
  proxy_sessions.delete(&packet->key);
  return put_segment(ctx, packet, packet->size) ? RX_OK : RX_DROP;
}
