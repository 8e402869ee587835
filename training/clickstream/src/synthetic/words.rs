//! What the shop sells: departments, their categories, and the words that titles are made of.
//! All brands are invented.

/// A part of the shop.
#[derive(Debug)]
pub(super) struct Department {
    pub(super) name: &'static str,
    pub(super) brands: [&'static str; 8],
    pub(super) styles: [&'static str; 6],
    pub(super) categories: [Category; CATEGORIES],
    pub(super) variants: &'static Variants,
}

/// What tells the variants of a product apart.
#[derive(Debug)]
pub(super) struct Variants {
    /// Name of the attribute.
    pub(super) attribute: &'static str,
    /// Values, with how they are drawn.
    pub(super) values: [(&'static str, &'static str); 14],
}

/// A shelf of a department.
#[derive(Debug)]
pub(super) struct Category {
    pub(super) name: &'static str,
    /// What stands on it.
    pub(super) kinds: [&'static str; 4],
    /// Median price, in euros.
    pub(super) price: f64,
}

/// Categories of a department.
pub(super) const CATEGORIES: usize = 6;
/// Categories of the largest shop.
pub(super) const MOST_CATEGORIES: usize = DEPARTMENTS.len() * CATEGORIES;

const fn category(name: &'static str, price: f64, kinds: [&'static str; 4]) -> Category {
    Category { name, kinds, price }
}

pub(super) static DEPARTMENTS: [Department; 10] = [
    Department {
        name: "Outdoor",
        brands: [
            "Fernholt",
            "Windscar",
            "Tarnbeck",
            "Basecroft",
            "Larkstone",
            "Highmoor",
            "Elkfjord",
            "Redgully",
        ],
        styles: ["Ultralight", "Expedition", "Family", "Trail", "Four-Season", "Compact"],
        categories: [
            category("Tents", 240.0, ["Dome Tent", "Tunnel Tent", "Tarp", "Bivouac"]),
            category("Sleeping Bags", 130.0, ["Down Sleeping Bag", "Mummy Bag", "Quilt", "Liner"]),
            category("Backpacks", 95.0, ["Daypack", "Trekking Pack", "Hydration Pack", "Duffel"]),
            category("Camp Kitchen", 38.0, ["Gas Stove", "Cook Set", "Kettle", "Coffee Press"]),
            category("Lamps", 42.0, ["Headlamp", "Lantern", "Torch", "String Light"]),
            category("Camp Furniture", 70.0, ["Folding Chair", "Hammock", "Camp Table", "Cot"]),
        ],
        variants: &COLOURS,
    },
    Department {
        name: "Kitchen",
        brands: [
            "Oakhearth",
            "Brasa",
            "Kessel & Sohn",
            "Mirepoix",
            "Saltwell",
            "Tinware",
            "Ruelle",
            "Copperly",
        ],
        styles: ["Professional", "Classic", "Everyday", "Handcrafted", "Bistro", "Heirloom"],
        categories: [
            category("Knives", 62.0, ["Chef's Knife", "Santoku", "Paring Knife", "Bread Knife"]),
            category("Pans", 58.0, ["Frying Pan", "Sauté Pan", "Wok", "Grill Pan"]),
            category("Pots", 74.0, ["Stock Pot", "Saucepan", "Dutch Oven", "Steamer"]),
            category("Baking", 24.0, ["Loaf Tin", "Springform", "Mixing Bowl", "Rolling Pin"]),
            category("Coffee", 88.0, ["Moka Pot", "Hand Grinder", "Pour-Over Set", "Milk Frother"]),
            category("Tableware", 33.0, ["Dinner Plate", "Bowl Set", "Wine Glass", "Carafe"]),
        ],
        variants: &COLOURS,
    },
    Department {
        name: "Shoes",
        brands: ["Stride & Co", "Velora", "Quickmile", "Cobble", "Ansa", "Northpace", "Lumbo", "Trevi Lane"],
        styles: ["Cushioned", "Waterproof", "Minimal", "Suede", "Retro", "All-Day"],
        categories: [
            category("Running", 118.0, ["Road Runner", "Trail Runner", "Racing Flat", "Tempo Shoe"]),
            category("Sneakers", 84.0, ["Low Sneaker", "High-Top", "Slip-On", "Court Shoe"]),
            category("Boots", 142.0, ["Chelsea Boot", "Lace-Up Boot", "Winter Boot", "Ankle Boot"]),
            category("Sandals", 49.0, ["Strap Sandal", "Slide", "Espadrille", "Clog"]),
            category("Hiking", 154.0, ["Hiking Boot", "Approach Shoe", "Hiking Shoe", "Gaiter"]),
            category("Formal", 129.0, ["Oxford", "Derby", "Loafer", "Pump"]),
        ],
        variants: &COLOURS,
    },
    Department {
        name: "Clothing",
        brands: [
            "Maren",
            "Holm & Hede",
            "Fadenwerk",
            "Solveig",
            "Parcel",
            "Linden Row",
            "Tessuto",
            "Blaufeld",
        ],
        styles: ["Organic", "Oversized", "Slim", "Merino", "Washed", "Essential"],
        categories: [
            category("Jackets", 135.0, ["Rain Jacket", "Down Jacket", "Parka", "Bomber"]),
            category("Knitwear", 72.0, ["Crewneck", "Cardigan", "Turtleneck", "Vest"]),
            category("Shirts", 46.0, ["Oxford Shirt", "Flannel Shirt", "Polo", "Blouse"]),
            category("Trousers", 68.0, ["Chino", "Jeans", "Cargo Trousers", "Joggers"]),
            category("Dresses", 79.0, ["Midi Dress", "Shirt Dress", "Wrap Dress", "Maxi Dress"]),
            category("Socks", 14.0, ["Crew Socks", "Ankle Socks", "Knee Socks", "Slipper Socks"]),
        ],
        variants: &COLOURS,
    },
    Department {
        name: "Home",
        brands: [
            "Haven Row",
            "Lumen",
            "Vadret",
            "Weaver Lane",
            "Cedar & Clay",
            "Nook",
            "Plain Oak",
            "Aurelle",
        ],
        styles: ["Scandinavian", "Rustic", "Modern", "Handmade", "Soft", "Vintage"],
        categories: [
            category("Lighting", 76.0, ["Table Lamp", "Floor Lamp", "Pendant", "Wall Light"]),
            category("Bedding", 64.0, ["Duvet Cover", "Linen Sheet", "Pillow", "Throw"]),
            category("Rugs", 128.0, ["Runner", "Round Rug", "Kilim", "Shag Rug"]),
            category("Storage", 36.0, ["Basket", "Shelf", "Chest", "Coat Rack"]),
            category("Decor", 28.0, ["Vase", "Candle Holder", "Mirror", "Picture Frame"]),
            category("Bath", 31.0, ["Bath Towel", "Bath Mat", "Soap Dish", "Bathrobe"]),
        ],
        variants: &COLOURS,
    },
    Department {
        name: "Electronics",
        brands: ["Orbio", "Pulsewave", "Kanto Nine", "Vertex Lab", "Halcyon", "Bitfield", "Sonora", "Tessel"],
        styles: ["Wireless", "Pro", "Mini", "Long-Life", "Smart", "Portable"],
        categories: [
            category("Headphones", 139.0, ["Over-Ear Headphones", "Earbuds", "On-Ear Headphones", "Headset"]),
            category("Speakers", 112.0, ["Bookshelf Speaker", "Soundbar", "Party Speaker", "Radio"]),
            category("Keyboards", 89.0, ["Mechanical Keyboard", "Numpad", "Keycap Set", "Wrist Rest"]),
            category("Cameras", 420.0, ["Action Camera", "Instant Camera", "Webcam", "Lens"]),
            category("Wearables", 165.0, ["Fitness Band", "Sports Watch", "Smart Ring", "Watch Strap"]),
            category("Charging", 34.0, ["Power Bank", "Wall Charger", "Charging Pad", "USB-C Cable"]),
        ],
        variants: &COLOURS,
    },
    Department {
        name: "Sports",
        brands: ["Ironlark", "Kettera", "Motus", "Ravine", "Balance & Bar", "Slalom", "Apexa", "Greenpitch"],
        styles: ["Competition", "Training", "Beginner", "Lightweight", "Studio", "Heavy-Duty"],
        categories: [
            category("Yoga", 44.0, ["Yoga Mat", "Cork Block", "Bolster", "Strap"]),
            category("Strength", 78.0, ["Kettlebell", "Dumbbell Pair", "Resistance Band", "Pull-Up Bar"]),
            category("Cycling", 66.0, ["Helmet", "Bike Light", "Handlebar Bag", "Floor Pump"]),
            category("Climbing", 92.0, ["Harness", "Chalk Bag", "Rope", "Crash Pad"]),
            category("Swimming", 29.0, ["Goggles", "Swim Cap", "Kickboard", "Fins"]),
            category("Racket Sports", 86.0, ["Tennis Racket", "Badminton Set", "Padel Racket", "Grip Tape"]),
        ],
        variants: &COLOURS,
    },
    Department {
        name: "Garden",
        brands: [
            "Mossgate",
            "Spade & Thyme",
            "Verdano",
            "Rillwater",
            "Gardenary",
            "Hazelwick",
            "Terra Vecchia",
            "Bramble",
        ],
        styles: ["All-Season", "Heritage", "Organic", "Easy-Care", "Cottage", "Balcony"],
        categories: [
            category("Tools", 32.0, ["Secateurs", "Hand Trowel", "Rake", "Hoe"]),
            category("Planters", 39.0, ["Terracotta Pot", "Raised Bed", "Window Box", "Hanging Basket"]),
            category("Seeds", 6.0, ["Tomato Seeds", "Herb Seeds", "Wildflower Mix", "Pumpkin Seeds"]),
            category("Grills", 189.0, ["Kettle Grill", "Gas Grill", "Fire Bowl", "Pizza Oven"]),
            category("Patio", 148.0, ["Bistro Set", "Parasol", "Lounge Chair", "Bench"]),
            category("Watering", 27.0, ["Watering Can", "Garden Hose", "Drip Kit", "Sprinkler"]),
        ],
        variants: &COLOURS,
    },
    Department {
        name: "Toys",
        brands: [
            "Pipkin",
            "Woodlings",
            "Tumbletown",
            "Brix & Bolt",
            "Marlo",
            "Little Comet",
            "Foxglove",
            "Quizzical",
        ],
        styles: ["Wooden", "Giant", "Magnetic", "Musical", "Junior", "Collector's"],
        categories: [
            category("Building Sets", 47.0, ["Brick Set", "Marble Run", "Castle Kit", "Gear Set"]),
            category("Board Games", 34.0, ["Strategy Game", "Card Game", "Family Game", "Quiz Game"]),
            category("Puzzles", 19.0, ["Jigsaw Puzzle", "Floor Puzzle", "Puzzle Cube", "Brain Teaser"]),
            category("Soft Toys", 23.0, ["Teddy Bear", "Plush Fox", "Plush Whale", "Rag Doll"]),
            category("Vehicles", 29.0, ["Train Set", "Fire Engine", "Race Car", "Digger"]),
            category("Crafts", 18.0, ["Paint Set", "Bead Kit", "Modelling Clay", "Sticker Book"]),
        ],
        variants: &COLOURS,
    },
    Department {
        name: "Beauty",
        brands: ["Alba Rosa", "Dewpoint", "Sève", "Kindroot", "Nacre", "Hydral", "Petal & Pine", "Ondine"],
        styles: ["Hydrating", "Fragrance-Free", "Overnight", "Vegan", "Brightening", "Travel"],
        categories: [
            category("Skin Care", 29.0, ["Day Cream", "Serum", "Face Mask", "Cleanser"]),
            category("Hair Care", 18.0, ["Shampoo", "Conditioner", "Hair Oil", "Hair Mask"]),
            category("Fragrance", 68.0, ["Eau de Parfum", "Body Mist", "Room Spray", "Solid Perfume"]),
            category("Make-Up", 24.0, ["Lipstick", "Mascara", "Foundation", "Blush"]),
            category("Shaving", 31.0, ["Safety Razor", "Shaving Brush", "Shaving Soap", "Aftershave"]),
            category("Body", 16.0, ["Body Lotion", "Hand Cream", "Bath Salts", "Body Scrub"]),
        ],
        variants: &SCENTS,
    },
];

/// Names of product lines.
pub(super) const LINES: [&str; 48] = [
    "Aalto", "Arden", "Astra", "Bergen", "Birch", "Bolero", "Calla", "Cirrus", "Coda", "Corvo", "Dalen",
    "Delta", "Dune", "Echo", "Elba", "Ember", "Fjell", "Flint", "Gale", "Garda", "Halo", "Haze", "Iona",
    "Juno", "Kasai", "Kite", "Lago", "Luma", "Mesa", "Mistral", "Nimbus", "Nova", "Onda", "Orion", "Piko",
    "Polar", "Quartz", "Rho", "Rialto", "Sable", "Sierra", "Sol", "Tarn", "Tempo", "Umbra", "Vela", "Zephyr",
    "Zinc",
];

static COLOURS: Variants = Variants {
    attribute: "colour",
    values: [
        ("Forest Green", "#2f6b3f"),
        ("Slate Grey", "#5d6b78"),
        ("Midnight Blue", "#1f2f5c"),
        ("Sand", "#d3b98a"),
        ("Rust", "#b4532a"),
        ("Black", "#23252a"),
        ("Ivory", "#efe8d6"),
        ("Berry", "#8c2f5b"),
        ("Sky Blue", "#6fb1dc"),
        ("Mustard", "#d9a520"),
        ("Coral", "#ef7f6b"),
        ("Sage", "#a3b899"),
        ("Plum", "#5f3a67"),
        ("Cherry Red", "#b8202c"),
    ],
};

static SCENTS: Variants = Variants {
    attribute: "scent",
    values: [
        ("Rose", "#d9667b"),
        ("Cedar", "#7a5a3c"),
        ("Lavender", "#9a86c4"),
        ("Citrus", "#e8b931"),
        ("Sea Salt", "#7fb3c8"),
        ("Vanilla", "#ead9b0"),
        ("Mint", "#8fc9ad"),
        ("Fig", "#6d4a63"),
        ("Jasmine", "#f1ecd9"),
        ("Bergamot", "#b9bf4a"),
        ("Almond", "#cfa884"),
        ("Green Tea", "#86a35c"),
        ("Amber", "#c67a2c"),
        ("Unscented", "#b9bec4"),
    ],
};
