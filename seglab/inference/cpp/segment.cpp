// Written by `seglab export --cpp`. Segments a picture; README.md says how to build and to run it.
#include <torch/script.h>

#include <filesystem>
#include <fstream>
#include <iostream>
#include <limits>
#include <stdexcept>
#include <string>

// The next number of a PPM header. Comments, from # to the end of the line, are passed over.
int64_t next_number(std::istream& file) {
    while ((file >> std::ws).peek() == '#') file.ignore(std::numeric_limits<std::streamsize>::max(), '\n');
    int64_t number = 0;
    file >> number;
    return file ? number : 0;
}

// A PPM file ("P6", one byte a channel) -> (H, W, 3) uint8, red, green, blue.
torch::Tensor read_picture(const std::string& path) {
    std::ifstream file(path, std::ios::binary);
    if (!file) throw std::runtime_error(path + ": there is no such file, or it cannot be read");
    char kind[2] = {};
    file.read(kind, 2);
    if (kind[0] != 'P' || kind[1] != '6')
        throw std::runtime_error(path + ": not a colour picture in a PPM file of kind P6; README.md says how to make one");
    const int64_t width = next_number(file), height = next_number(file), brightest = next_number(file);
    if (width < 1 || height < 1 || width > 1'000'000 || height > 1'000'000 || brightest != 255)
        throw std::runtime_error(path + ": its header is damaged, or it has more than one byte a channel");
    file.get();  // the one blank that ends the header
    const int64_t size = height * width * 3;
    if (size > static_cast<int64_t>(std::filesystem::file_size(path)))
        throw std::runtime_error(path + ": pixels are missing at its end");
    auto picture = torch::empty({height, width, 3}, torch::kUInt8);
    if (!file.read(reinterpret_cast<char*>(picture.data_ptr<uint8_t>()), size)) throw std::runtime_error(path + ": pixels are missing at its end");
    return picture;
}

// (H, W) uint8 -> a PGM file ("P5"); (H, W, 3) uint8 -> a PPM file ("P6").
void write_picture(const std::string& path, const torch::Tensor& pixels) {
    const auto bytes = pixels.contiguous();
    std::ofstream file(path, std::ios::binary);
    file << (bytes.dim() == 2 ? "P5" : "P6") << "\n" << bytes.size(1) << " " << bytes.size(0) << "\n255\n";
    file.write(reinterpret_cast<const char*>(bytes.data_ptr<uint8_t>()), bytes.numel());
    if (!file.flush()) throw std::runtime_error(path + ": cannot be written");
}

int main(int argc, char** argv) try {
    if (argc != 4 && argc != 5) throw std::runtime_error("usage: segment model.pt picture.ppm mask.pgm [colours.ppm]");
    torch::InferenceMode no_gradients;
    auto model = torch::jit::load(argv[1], torch::kCPU);
    auto picture = read_picture(argv[2]);                     // (H, W, 3) uint8
    auto mask = model.forward({picture}).toTensor();          // (H, W) uint8 class ids
    write_picture(argv[3], mask);
    auto colours = model.attr("colours").toTensor();          // (C, 3) uint8
    if (argc == 5) write_picture(argv[4], colours.index({mask.to(torch::kLong)}));  // (H, W, 3) uint8
} catch (const c10::Error& error) {  // LibTorch's own; its what() would print the stack too
    std::cerr << "segment: " << error.what_without_backtrace() << "\n";
    return 1;
} catch (const std::exception& error) {
    std::cerr << "segment: " << error.what() << "\n";
    return 1;
}
