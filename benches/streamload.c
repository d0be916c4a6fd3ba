/* Streams for load: an upstream whose events carry the nanosecond at which they were sent, and a caller that reads them.
 *
 * streamload upstream PORT
 *     {"stream": true, "events": N, "rate": R} gets N content events, one every 1/R s, then the end. All streams of one of
 *     20 turns are written in the same millisecond.
 * streamload caller PORT STREAMS START_EVERY_US FILE   (the request on stdin)
 *     Opens STREAMS connections, START_EVERY_US apart, sends the request on each and reads to the end. FILE gets an array of
 *     struct seen, one for each event; stdout the number of streams that came whole.
 *
 * Both are C, so that on two cores it is the one between them that is measured: in Python, each takes as much of an event as
 * a gateway does, and at 25,000 events a second they are late by themselves.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define TURNS 20
#define TURN_NS 1000000LL
#define BUFFER 65536
#define READY 512

static const char HEAD[] =
    "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n";
#define EVENT(delta, reason) \
    "data: {\"id\":\"chatcmpl-bench\",\"object\":\"chat.completion.chunk\",\"created\":1,\"model\":\"gpt-4o-mini\"," \
    "\"choices\":[{\"index\":0,\"delta\":{" delta "},\"finish_reason\":" reason "}],\"usage\":null}\n\n"
static const char USAGE[] =
    "data: {\"id\":\"chatcmpl-bench\",\"object\":\"chat.completion.chunk\",\"created\":1,\"model\":\"gpt-4o-mini\","
    "\"choices\":[],\"usage\":{\"prompt_tokens\":200,\"completion_tokens\":150,\"total_tokens\":350}}\n\n";

struct seen { int64_t at_ns, late_ns; int32_t stream, event; };

static void die(const char *what) { perror(what); exit(1); }

static int64_t now_ns(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1000000000LL + t.tv_nsec;
}

static int framed(char *to, const char *event) {
    return sprintf(to, "%zx\r\n%s\r\n", strlen(event), event);
}

static struct sockaddr_in loopback(int port) {
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(port)};
    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    return to;
}

/* Linux's own default, whatever the machine's is: BBR takes a stream's few bytes for all that the path can carry, and would hold
 * back the first events of the next stream on the same connection. */
static void ready(int fd) {
    int one = 1;
    setsockopt(fd, IPPROTO_TCP, TCP_CONGESTION, "cubic", 5);
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK);
}

static void write_all(int fd, const char *data, int size) { /* socket buffers hold a second of events: never short here */
    if (send(fd, data, size, MSG_NOSIGNAL) != size && errno != EPIPE && errno != ECONNRESET) die("send");
}

/* The upstream. */

struct stream { int fd, used, left, every, turn, slot; struct stream *next, *before; char asked[BUFFER]; };

static struct stream slots[TURNS];

static void leave(struct stream *s) {
    if (s->next) s->next->before = s->before, s->before->next = s->next, s->next = NULL;
}

static void begin(struct stream *s, const char *first, int first_bytes) {
    static unsigned serial;
    char *events = strstr(s->asked, "\"events\":"), *rate = strstr(s->asked, "\"rate\":");
    int per_s = rate ? atoi(rate + 7) : 50;
    s->left = events ? atoi(events + 9) : 1;
    s->every = (int)(1000.0 / TURNS / per_s + 0.5);
    if (s->every < 1) s->every = 1;
    s->turn = 0;
    s->slot = ++serial % TURNS;
    write_all(s->fd, first, first_bytes);
    struct stream *head = &slots[s->slot];
    s->next = head->next, s->before = head, head->next->before = s, head->next = s;
}

static _Noreturn void upstream(int port) {
    static char first[1024], event[1024], last[2048];
    int first_bytes = sprintf(first, "%s", HEAD), event_bytes, last_bytes, one = 1;
    first_bytes += framed(first + first_bytes, EVENT("\"role\":\"assistant\",\"content\":\"\"", "null"));
    event_bytes = framed(event, EVENT("\"content\":\"t=00000000000000000000 \"", "null"));
    char *stamp = strstr(event, "t=") + 2;
    last_bytes = framed(last, EVENT("", "\"stop\""));
    last_bytes += framed(last + last_bytes, USAGE);
    last_bytes += framed(last + last_bytes, "data: [DONE]\n\n");
    last_bytes += sprintf(last + last_bytes, "0\r\n\r\n");
    for (int i = 0; i < TURNS; i++) slots[i].next = slots[i].before = &slots[i];

    int door = socket(AF_INET, SOCK_STREAM, 0), poll = epoll_create1(0);
    struct sockaddr_in here = loopback(port);
    setsockopt(door, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    if (bind(door, (void *)&here, sizeof here) || listen(door, 4096)) die("listen");
    struct epoll_event found[READY], on = {.events = EPOLLIN, .data.ptr = NULL};
    epoll_ctl(poll, EPOLL_CTL_ADD, door, &on);
    int64_t start = now_ns(), tick = 0;
    for (;;) {
        int64_t wait = start + (tick + 1) * TURN_NS - now_ns();
        struct timespec for_ns = {0, wait > 0 ? wait : 0};
        int count = epoll_pwait2(poll, found, READY, &for_ns, NULL);
        for (int i = 0; i < count; i++) {
            struct stream *s = found[i].data.ptr;
            if (!s) {
                int fd = accept(door, NULL, NULL);
                if (fd < 0) continue;
                ready(fd);
                s = calloc(1, sizeof *s);
                s->fd = fd;
                on.data.ptr = s;
                epoll_ctl(poll, EPOLL_CTL_ADD, fd, &on);
                continue;
            }
            int got = recv(s->fd, s->asked + s->used, BUFFER - 1 - s->used, 0);
            if (got < 0 && errno == EAGAIN) continue;
            if (got <= 0) {
                leave(s);
                close(s->fd);
                free(s);
                continue;
            }
            s->asked[s->used += got] = 0;
            char *end = strstr(s->asked, "\r\n\r\n"), *length = strcasestr(s->asked, "content-length:");
            if (!end || s->used < end + 4 - s->asked + (length ? atoi(length + 15) : 0)) continue;
            begin(s, first, first_bytes);
            s->used = 0;
        }
        while (now_ns() >= start + (tick + 1) * TURN_NS) {
            struct stream *head = &slots[++tick % TURNS], *after;
            for (struct stream *s = head->next; s != head; s = after) {
                after = s->next;
                if (++s->turn % s->every) continue;
                char digits[24];
                snprintf(digits, sizeof digits, "%020lld", (long long)now_ns());
                memcpy(stamp, digits, 20);
                if (--s->left > 0) {
                    write_all(s->fd, event, event_bytes);
                    continue;
                }
                char both[4096];
                memcpy(both, event, event_bytes);
                memcpy(both + event_bytes, last, last_bytes);
                write_all(s->fd, both, event_bytes + last_bytes);
                leave(s);
            }
        }
    }
}

/* The caller. */

struct call { int fd, seen, kept, number; char tail[BUFFER + 64]; };

static int64_t stamped(const char *at) {
    int64_t value = 0;
    for (int i = 0; i < 20; i++) value = value * 10 + at[i] - '0';
    return value;
}

/* Whether the stream has ended. */
static int take(struct call *c, int got, FILE *out) {
    int64_t now = now_ns();
    char *from = c->tail, *end = c->tail + c->kept + got, *at;
    while ((at = memmem(from, end - from, "\"t=", 3)) && at + 24 <= end) {
        struct seen one = {now, now - stamped(at + 3), c->number, c->seen++};
        fwrite(&one, sizeof one, 1, out);
        from = at + 24;
    }
    int over = end - c->tail >= 7 && !memcmp(end - 7, "\r\n0\r\n\r\n", 7);
    c->kept = end - from > 32 ? 32 : end - from;
    memmove(c->tail, end - c->kept, c->kept);
    return over;
}

static int caller(int port, int streams, int64_t every_ns, const char *file) {
    static char request[BUFFER];
    int size = fread(request, 1, sizeof request, stdin), poll = epoll_create1(0), begun = 0, open = 0, whole = 0;
    FILE *out = fopen(file, "wb");
    if (!out || !size) die(file);
    setvbuf(out, NULL, _IOFBF, 1 << 24);
    struct sockaddr_in there = loopback(port);
    struct epoll_event found[READY], on = {.events = EPOLLIN};
    int64_t start = now_ns();
    while (begun < streams || open) {
        struct timespec for_ns = {1, 0};
        if (begun < streams) {
            int64_t wait = start + begun * every_ns - now_ns();
            for_ns = (struct timespec){0, wait > 0 ? wait : 0};
        }
        int count = epoll_pwait2(poll, found, READY, &for_ns, NULL);
        for (int i = 0; i < count; i++) {
            struct call *c = found[i].data.ptr;
            int got = recv(c->fd, c->tail + c->kept, BUFFER, 0), over = got <= 0;
            if (got < 0 && errno == EAGAIN) continue;
            if (got > 0 && (over = take(c, got, out))) whole++;
            if (over) {
                close(c->fd);
                free(c);
                open--;
            }
        }
        if (begun < streams && now_ns() >= start + begun * every_ns) {
            struct call *c = calloc(1, sizeof *c);
            c->fd = socket(AF_INET, SOCK_STREAM, 0);
            c->number = begun++;
            if (connect(c->fd, (void *)&there, sizeof there)) die("connect");
            ready(c->fd);
            write_all(c->fd, request, size);
            on.data.ptr = c;
            epoll_ctl(poll, EPOLL_CTL_ADD, c->fd, &on);
            open++;
        }
    }
    printf("%d\n", whole);
    return fclose(out);
}

int main(int count, char **words) {
    if (count == 3 && !strcmp(words[1], "upstream")) upstream(atoi(words[2]));
    if (count == 6 && !strcmp(words[1], "caller"))
        return caller(atoi(words[2]), atoi(words[3]), atoll(words[4]) * 1000, words[5]);
    fprintf(stderr, "streamload upstream PORT | streamload caller PORT STREAMS START_EVERY_US FILE\n");
    return 2;
}
