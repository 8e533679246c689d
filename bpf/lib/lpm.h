/* Keys of longest-prefix tables (lpm_trie): how many of the address's first bits count, and the address. */
#ifndef PCN_LIB_LPM_H
#define PCN_LIB_LPM_H
struct prefix4 {
  u32 length; /* bits */
  u8 address[4];
};
struct prefix6 {
  u32 length;
  u8 address[16];
};

/* The key by which one address is looked up. It is filled where it is: a key that is passed by value would be on the stack twice. */
static __always_inline void lpm_host4(struct prefix4 *key, const void *address) {
  key->length = 32;
  __builtin_memcpy(key->address, address, 4);
}

static __always_inline void lpm_host6(struct prefix6 *key, const void *address) {
  key->length = 128;
  __builtin_memcpy(key->address, address, 16);
}
#endif
