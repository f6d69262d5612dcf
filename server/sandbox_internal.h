/* What the two ends of the sandbox's socket share; nobody else includes this. */
#ifndef TS_SERVER_SANDBOX_INTERNAL_H
#define TS_SERVER_SANDBOX_INTERNAL_H

#include <stdbool.h>

#include "server/codec.h"

enum {
    SANDBOX_FD = 3 /* the worker's end */
};

typedef enum sandbox_op {
    OP_HELLO, /* both ways: are you there? */
    OP_IMAGE, /* + input, output: decode */
    OP_CLIP,  /* + input: open; answered by OP_INFO */
    OP_INFO,
    OP_NEXT, /* (+ output, the first time): the next frame; answered by OP_FRAME or OP_END */
    OP_FRAME,
    OP_END,
    OP_STOP /* enough of this clip */
} sandbox_op;

/* One datagram; file descriptors travel beside it. */
typedef struct sandbox_message {
    int32_t op, status;
    int32_t width, height, channels;
    uint64_t input_bytes, output_bytes;
    double fps;
    char text[256];
} sandbox_message;

/* Send with up to two descriptors; false: the other end is gone. */
bool sandbox_send(int socket, const sandbox_message *message, const int *fds, int n_fds);
/* Receive; fds get -1 where none came. `timeout_ms` -1: wait for ever. 0: gone, -1: timed out, 1. */
int sandbox_receive(int socket, sandbox_message *message, int fds[2], int timeout_ms);

#endif
