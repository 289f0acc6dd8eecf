#include "client/eval/data/unpackers.h"

#include <lzma.h>
#include <zlib.h>
#include <zstd.h>

#include <string>

#include "absl/strings/str_cat.h"

namespace precis::eval {
namespace {

// Where a decoder stands between input and output.
struct Window {
  const char* in;
  size_t in_size;
  char* out;
  size_t out_size;
};

enum class Step { kMore, kStreamEnd };

// Drives a decoder: Codec::Run consumes and produces, moving the window; Codec::Restart begins another stream.
template <typename Codec>
class Unpacker final : public ByteSource {
 public:
  explicit Unpacker(std::unique_ptr<ByteSource> packed) : packed_(std::move(packed)) {}

  absl::StatusOr<size_t> Read(char* buffer, size_t size) override {
    Window window = {input_.data() + begin_, end_ - begin_, buffer, size};
    while (window.out_size == size && size > 0) {
      if (window.in_size == 0 && !packed_ended_) {
        const auto read = packed_->Read(input_.data(), input_.size());
        if (!read.ok()) return read.status();
        packed_ended_ = *read == 0;
        end_ = *read;
        window.in = input_.data();
        window.in_size = *read;
      }
      if (window.in_size == 0 && packed_ended_ && between_streams_) break;
      if (between_streams_) codec_.Restart();
      between_streams_ = false;
      const size_t in_before = window.in_size;
      const absl::StatusOr<Step> step = codec_.Run(&window, packed_ended_);
      if (!step.ok()) return step.status();
      between_streams_ = *step == Step::kStreamEnd;
      const bool idle = window.in_size == in_before && window.out_size == size;
      if (packed_ended_ && idle && !between_streams_) return absl::DataLossError(absl::StrCat(Codec::kName, " data is cut off"));
    }
    begin_ = window.in - input_.data();
    return size - window.out_size;
  }

 private:
  std::unique_ptr<ByteSource> packed_;
  Codec codec_;
  std::string input_ = std::string(1 << 16, '\0');
  size_t begin_ = 0, end_ = 0;
  bool packed_ended_ = false, between_streams_ = false;
};

absl::Status Damaged(const char* name, const char* why) { return absl::DataLossError(absl::StrCat(name, " data is damaged: ", why)); }

class Gzip {
 public:
  static constexpr char kName[] = "gzip";
  Gzip() { inflateInit2(&stream_, 16 + MAX_WBITS); }
  ~Gzip() { inflateEnd(&stream_); }
  Gzip(const Gzip&) = delete;
  Gzip& operator=(const Gzip&) = delete;
  void Restart() { inflateReset(&stream_); }

  absl::StatusOr<Step> Run(Window* window, bool) {
    stream_.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(window->in));
    stream_.avail_in = static_cast<uInt>(window->in_size);
    stream_.next_out = reinterpret_cast<Bytef*>(window->out);
    const size_t most = std::min<size_t>(window->out_size, 1 << 30);
    stream_.avail_out = static_cast<uInt>(most);
    const int code = inflate(&stream_, Z_NO_FLUSH);
    window->in += window->in_size - stream_.avail_in;
    window->in_size = stream_.avail_in;
    window->out += most - stream_.avail_out;
    window->out_size -= most - stream_.avail_out;
    if (code == Z_STREAM_END) return Step::kStreamEnd;
    if (code == Z_OK || code == Z_BUF_ERROR) return Step::kMore;
    return Damaged(kName, stream_.msg == nullptr ? "no valid stream" : stream_.msg);
  }

 private:
  z_stream stream_ = {};
};

class Xz {
 public:
  static constexpr char kName[] = "xz";
  Xz() { Restart(); }
  ~Xz() { lzma_end(&stream_); }
  Xz(const Xz&) = delete;
  Xz& operator=(const Xz&) = delete;
  void Restart() { ready_ = lzma_stream_decoder(&stream_, kMemoryLimit, 0); }

  absl::StatusOr<Step> Run(Window* window, bool ended) {
    if (ready_ != LZMA_OK) return absl::ResourceExhaustedError("xz: no memory for a decoder");
    stream_.next_in = reinterpret_cast<const uint8_t*>(window->in);
    stream_.avail_in = window->in_size;
    stream_.next_out = reinterpret_cast<uint8_t*>(window->out);
    stream_.avail_out = window->out_size;
    const lzma_ret code = lzma_code(&stream_, ended ? LZMA_FINISH : LZMA_RUN);
    window->in = reinterpret_cast<const char*>(stream_.next_in);
    window->in_size = stream_.avail_in;
    window->out = reinterpret_cast<char*>(stream_.next_out);
    window->out_size = stream_.avail_out;
    if (code == LZMA_STREAM_END) return Step::kStreamEnd;
    if (code == LZMA_OK || code == LZMA_BUF_ERROR) return Step::kMore;
    if (code == LZMA_MEMLIMIT_ERROR) return absl::ResourceExhaustedError("xz: needs more than 1 GiB to unpack");
    return Damaged(kName, code == LZMA_DATA_ERROR ? "a checksum or code is wrong" : "no valid stream");
  }

 private:
  static constexpr uint64_t kMemoryLimit = uint64_t{1} << 30;
  lzma_stream stream_ = LZMA_STREAM_INIT;
  lzma_ret ready_ = LZMA_OK;
};

class Zstd {
 public:
  static constexpr char kName[] = "zstd";
  Zstd() : stream_(ZSTD_createDStream()) {}
  ~Zstd() { ZSTD_freeDStream(stream_); }
  Zstd(const Zstd&) = delete;
  Zstd& operator=(const Zstd&) = delete;
  void Restart() { ZSTD_DCtx_reset(stream_, ZSTD_reset_session_only); }

  absl::StatusOr<Step> Run(Window* window, bool) {
    ZSTD_inBuffer in = {window->in, window->in_size, 0};
    ZSTD_outBuffer out = {window->out, window->out_size, 0};
    const size_t code = ZSTD_decompressStream(stream_, &out, &in);
    window->in += in.pos;
    window->in_size -= in.pos;
    window->out += out.pos;
    window->out_size -= out.pos;
    if (ZSTD_isError(code)) return Damaged(kName, ZSTD_getErrorName(code));
    return code == 0 ? Step::kStreamEnd : Step::kMore;
  }

 private:
  ZSTD_DStream* const stream_;
};

}  // namespace

std::unique_ptr<ByteSource> MakeGzipSource(std::unique_ptr<ByteSource> packed) { return std::make_unique<Unpacker<Gzip>>(std::move(packed)); }
std::unique_ptr<ByteSource> MakeXzSource(std::unique_ptr<ByteSource> packed) { return std::make_unique<Unpacker<Xz>>(std::move(packed)); }
std::unique_ptr<ByteSource> MakeZstdSource(std::unique_ptr<ByteSource> packed) { return std::make_unique<Unpacker<Zstd>>(std::move(packed)); }

}  // namespace precis::eval
