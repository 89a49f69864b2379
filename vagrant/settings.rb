# frozen_string_literal: true

# The settings of the lab: read from lab.yaml, checked, and as values. No Vagrant here, so that
# `ruby settings.rb FILE` checks a file without it.

require "ipaddr"
require "socket"
require "yaml"

module PodwireLab
  # What is wrong with the settings: the file, the field, the cause and the remedy.
  class SettingsError < StandardError; end

  # A distribution that a box has: its name at Debian or Ubuntu, and its Python.
  Release = Struct.new(:name, :family, :python)
  RELEASES = {
    "debian-12" => Release.new("bookworm", "debian", "3.11"),
    "debian-13" => Release.new("trixie", "debian", "3.13"),
    "ubuntu-24.04" => Release.new("noble", "ubuntu", "3.12"),
  }.freeze
  PROVIDERS = %w[virtualbox libvirt vmware_desktop parallels qemu].freeze
  ARCHITECTURES = { "x86_64" => "amd64", "amd64" => "amd64", "arm64" => "arm64", "aarch64" => "arm64" }.freeze

  Machine = Struct.new(:name, :number, :address, :mac)

  # Reads fields of a mapping one by one; what nobody asked for is refused.
  class Section
    def initialize(file, path, value)
      @file = file
      @path = path
      fail!("", "want a mapping, with a field a line") unless value.is_a?(Hash)
      @value = value
      @known = []
    end

    def fail!(field, reason)
      at = [@path, field].reject { |part| part.to_s.empty? }.join(".")
      raise SettingsError, [@file, at, reason].reject(&:empty?).join(": ")
    end

    def take(field, default)
      @known << field
      @value.fetch(field, default)
    end

    def integer(field, default, range)
      value = take(field, default)
      return value if value.is_a?(Integer) && range.cover?(value)

      fail!(field, "#{value.inspect} is not a whole number from #{range.min} to #{range.max}")
    end

    def flag(field)
      value = take(field, false)
      [true, false].include?(value) ? value : fail!(field, "#{value.inspect} is not true or false")
    end

    def choice(field, default, among)
      value = take(field, default)
      value == default || among.include?(value) || fail!(field, "#{value.inspect} is not one of #{among.join(', ')}")
      value
    end

    def text(field, default, pattern)
      value = take(field, default)
      return value if value == default || (value.is_a?(String) && pattern.match?(value))

      fail!(field, "#{value.inspect} cannot be this; see docs/vagrant.md")
    end

    def texts(field, default, most)
      value = take(field, default)
      good = value.is_a?(Array) && value.size <= most && value.all?(String)
      good ? value : fail!(field, "#{value.inspect} is not a list of at most #{most} texts")
    end

    def section(field)
      Section.new(@file, [@path, field].reject(&:empty?).join("."), take(field, {}) || {})
    end

    def refuse(field, reason)
      fail!(field, reason) if @value.key?(field)
    end

    def finish
      unknown = @value.keys - @known
      fail!(unknown.first.to_s, "there is no such field; remove it, or see docs/vagrant.md") unless unknown.empty?
    end
  end

  # All settings, checked.
  class Settings
    attr_reader :workers, :controls, :store, :memory, :cpus, :provider, :emulated, :box, :box_version, :architecture, :release, :python,
                :network, :cluster, :wheel

    MOST_BYTES = 64 * 1024
    MOST_WORKERS = 50
    VIRTUALBOX = IPAddr.new("192.168.56.0/21") # what it allows without a file /etc/vbox/networks.conf
    CONTROLS = [1, 3, 5].freeze # an even number is no safer than one less
    ELSEWHERE = "there is no such field: write `controlPlane: {machines: 3, store: etcd}`"

    def self.load(file)
      text = File.binread(file, MOST_BYTES + 1) || ""
      raise SettingsError, "#{file}: a file of settings has at most #{MOST_BYTES} bytes" if text.bytesize > MOST_BYTES

      new(file, YAML.safe_load(text.force_encoding("UTF-8"), filename: file))
    rescue Psych::Exception => e
      raise SettingsError, "#{file}: is not plain YAML: #{e.message}"
    rescue SystemCallError => e
      raise SettingsError, "#{file}: cannot be read: #{e.message}"
    end

    def initialize(file, values)
      top = Section.new(file, "", values)
      top.fail!("version", "write 1: it is the format's") unless top.take("version", nil) == 1
      %w[etcd etcdMembers store].each { |field| top.refuse(field, ELSEWHERE) }
      read_control_plane(top.section("controlPlane"))
      read_machines(top)
      read_box(top.section("box"))
      read_versions(file, top.section("versions"))
      read_network(top)
      read_cluster(top)
      top.finish
    end

    def machines
      base = network.to_range.first.to_i
      (1..workers + controls).map do |number|
        address = IPAddr.new(base + 10 + number, Socket::AF_INET)
        mac = format("525400%06x", address.to_i & 0xffffff) # by its address, so no two are the same
        Machine.new("node#{number}", number, address.to_s, mac)
      end
    end

    def prefix
      network.prefix
    end

    def netmask
      IPAddr.new("255.255.255.255").mask(prefix).to_s
    end

    # Two labs of one host need two ranges of addresses, so they have two ports.
    def multicast_port
      20_000 + network.to_i / 256 % 10_000
    end

    def control_plane
      machines.first
    end

    # The first of them begins the cluster; the others join it.
    def control_planes
      machines.first(controls)
    end

    def etcd?
      store == "etcd"
    end

    # The settings that podwire itself reads, as `podwire install control-plane --config` takes them.
    def cluster_yaml
      YAML.dump({ "version" => 1 }.merge(cluster, etcd? ? { "store" => store } : {}))
    end

    private

    def read_control_plane(section)
      @controls = section.choice("machines", 1, CONTROLS)
      @store = section.choice("store", "sqlite", %w[sqlite etcd])
      section.fail!("machines", "#{controls} control planes share an etcd: write `store: etcd` beside it") if
        controls > 1 && !etcd?
      section.finish
    end

    def read_machines(top)
      @workers = top.integer("workers", 2, 0..MOST_WORKERS)
      @memory = top.integer("memory", 2048, 1024..1_048_576)
      @cpus = top.integer("cpus", 2, 1..256)
      @provider = top.choice("provider", nil, PROVIDERS)
      @emulated = top.flag("emulated")
      top.fail!("emulated", "only with `provider: libvirt`; others want a processor that virtualizes") if
        emulated && provider != "libvirt"
    end

    def read_box(section)
      @box = section.text("name", "bento/ubuntu-24.04", %r{\A[\w.-]+/[\w.-]+\z})
      @box_version = section.text("version", nil, /\A\d[\w.+-]*\z/)
      @architecture = ARCHITECTURES[section.choice("architecture", nil, ARCHITECTURES.keys)]
      known = RELEASES[@box.split("/").last]
      @release = section.text("release", known&.name, /\A[a-z]+\z/)
      @python = section.text("python", known&.python, /\A3\.\d+\z/)
      section.fail!("release", "name the Debian or Ubuntu release of #{@box}, such as bookworm") unless @release
      section.fail!("python", "write the Python version of #{@box}, such as \"3.11\"") unless @python
      section.finish
    end

    def read_versions(file, section)
      wheel = section.text("podwire", nil, /\.whl\z/)
      @wheel = wheel && File.expand_path(wheel, File.dirname(file))
      section.fail!("podwire", "there is no file #{@wheel}") unless @wheel.nil? || File.file?(@wheel)
      section.finish
    end

    def read_network(top)
      text = top.text("addresses", "192.168.56.0/24", %r{\A[0-9.]+/\d+\z})
      @network = range(top, "addresses", text)
      top.fail!("addresses", "#{text} has no room for #{workers + controls} machines: want a /24 or larger") if
        @network.prefix > 24 || @network.prefix < 8
      return unless [nil, "virtualbox"].include?(provider) && !VIRTUALBOX.include?(@network)

      top.fail!("addresses", "VirtualBox allows only ranges in 192.168.56.0/21: use one, or name another provider")
    end

    def read_cluster(top)
      network = top.section("network")
      network.choice("ipFamily", "ipv4", %w[ipv4])
      pods = ranges(network, "podCIDRs", "10.244.0.0/16")
      services = ranges(network, "serviceCIDRs", "10.96.0.0/16")
      apart(top, pods + services)
      overlay = network.choice("overlay", "routes", %w[routes vxlan])
      network.finish
      proxy = top.section("proxy")
      mode = proxy.choice("mode", "nftables", %w[iptables nftables ebpf])
      proxy.finish
      @cluster = {
        "network" => { "podCIDRs" => pods, "serviceCIDRs" => services, "overlay" => overlay },
        "proxy" => { "mode" => mode },
        "dns" => dns(top.section("dns")),
      }
    end

    def dns(section)
      made = { "upstreams" => section.texts("upstreams", [], 1000), "stubDomains" => section.texts("stubDomains", [], 1000) }
      section.finish
      made
    end

    def ranges(section, field, default)
      found = section.texts(field, [default], 1)
      found = [default] if found.empty?
      found.each { |text| range(section, field, text) }
    end

    def range(section, field, text)
      made = IPAddr.new(text)
      exact = text.include?("/") && made.ipv4? && made.to_s == text.split("/").first
      exact ? made : section.fail!(field, "#{text.inspect} is not a network of IPv4, such as 10.244.0.0/16")
    rescue IPAddr::Error
      section.fail!(field, "#{text.inspect} is not a network of IPv4, such as 10.244.0.0/16")
    end

    def apart(top, cluster)
      ([@network] + cluster.map { |text| IPAddr.new(text) }).combination(2) do |one, other|
        next unless one.include?(other) || other.include?(one)

        top.fail!("network", "#{one}/#{one.prefix} and #{other}/#{other.prefix} overlap: choose another range")
      end
    end
  end

  # Whether this host has room; pure, MiB. Returns nil, or why not and what to do.
  module Memory
    KEPT = 1024 # for the host itself

    def self.refusal(total:, available:, machines:, running:, each:)
      want = machines * each
      if total && want + KEPT > total
        return "#{machines} machines of #{each} MiB want #{want} MiB, and this host has #{total} MiB: " \
               "write less `memory:` or fewer `workers:` in lab.yaml"
      end
      want = (machines - running) * each
      return nil if available.nil? || want <= available

      "the machines that do not run yet want #{want} MiB, and #{available} MiB are free: end other programs, or " \
        "write less `memory:` or fewer `workers:` in lab.yaml"
    end

    # [total, available] of this host, each nil where it cannot be known.
    def self.of_host
      if File.readable?("/proc/meminfo")
        text = File.read("/proc/meminfo")
        return %w[MemTotal MemAvailable].map { |name| text[/^#{name}:\s+(\d+)/, 1]&.to_i&.div(1024) }
      end
      bytes = RUBY_PLATFORM.include?("darwin") ? IO.popen(%w[sysctl -n hw.memsize], &:read).to_i : 0
      [bytes.positive? ? bytes / 1024 / 1024 : nil, nil]
    rescue SystemCallError
      [nil, nil]
    end
  end

  # Whether this host can virtualize for libvirt.
  module Virtualization
    # Why not, in a line; nil where it can, or where libvirt runs elsewhere or needs no KVM.
    def self.refusal(driver:, uri:, device: "/dev/kvm")
      return nil unless driver.to_s == "kvm" && (uri.nil? || uri.start_with?("qemu:///")) && !File.exist?(device)

      "libvirt wants #{device}, which is not there: turn virtualization on in this machine's firmware (in its host, " \
        "if it is itself virtual), or write `emulated: true` into lab.yaml, which is 10 to 35 times slower"
    end
  end
end

if $PROGRAM_NAME == __FILE__
  begin
    settings = PodwireLab::Settings.load(ARGV.fetch(0, File.join(__dir__, "lab.yaml")))
    settings.machines.each { |machine| puts "#{machine.name} #{machine.address} #{machine.mac}" }
    puts settings.cluster_yaml
  rescue PodwireLab::SettingsError => e
    abort("Error: #{e.message}")
  end
end
