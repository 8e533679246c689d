#include <uapi/asm/byteorder.h>
