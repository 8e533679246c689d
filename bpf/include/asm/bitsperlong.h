#include <uapi/asm/bitsperlong.h>
