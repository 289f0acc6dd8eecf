#ifndef PRECIS_SERVER_EXPERIMENTS_STATS_CODING_H_
#define PRECIS_SERVER_EXPERIMENTS_STATS_CODING_H_

#include <cstdint>
#include <string>
#include <string_view>

namespace precis::stats {

// Writes numbers into bytes that a Reader of any machine takes back: varints (LEB128) and doubles (8 bytes, little-endian).
class Writer {
 public:
  void Varint(uint64_t value);
  void Double(double value);
  void Bytes(std::string_view bytes);  // length, then the bytes
  std::string Take() { return std::move(out_); }

 private:
  std::string out_;
};

// Reads what a Writer wrote. After a read past the end or a bad number ok() is false, and every read gives 0.
class Reader {
 public:
  explicit Reader(std::string_view bytes) : rest_(bytes) {}
  uint64_t Varint();
  // A varint of at most `limit`; larger is an error.
  uint64_t Bounded(uint64_t limit);
  double Double();  // finite; anything else is an error
  std::string_view Bytes();
  bool ok() const { return ok_; }
  bool done() const { return ok_ && rest_.empty(); }

 private:
  uint64_t Fail() {
    ok_ = false;
    rest_ = {};
    return 0;
  }

  std::string_view rest_;
  bool ok_ = true;
};

}  // namespace precis::stats

#endif  // PRECIS_SERVER_EXPERIMENTS_STATS_CODING_H_
